"""Runnables of the user's own on their way to a cluster that is made up."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from flambe_ansible import __version__
from flambe_ansible.cli.render.failure import render_error
from flambe_ansible.cluster import own_runtime, submission
from flambe_ansible.cluster.custom import PLAYBOOK, Custom
from flambe_ansible.errors import ClusterConfigurationError, ClusterError, PlaybookError, RunError
from flambe_ansible.paths import collection
from flambe_ansible.runnable import RemoteEnvironment, read
from flambe_ansible.runnable.document import from_text
from flambe_ansible.sources import Wheel

MODULE = "custom_run_ext"
CODE = """
from flambe_ansible import ClusterRunnable, Runnable
from flambe_ansible.errors import ClusterError

class Mine(ClusterRunnable):
    def __init__(self, place="", trouble="", folder="", later=None, **kwargs):
        super().__init__(**kwargs)
        self.place, self.trouble, self.results, self.later = place, trouble, folder, later

    def setup(self, cluster, extensions, force, **kwargs):
        if self.trouble == "own":
            raise ClusterError("no room")
        if self.trouble:
            raise LookupError(self.trouble)
        if self.later is not None:
            self.results = self.later
        self.set_serializable_attr("place", f"/there/{extensions['custom_run_ext']}/{self.config['A']['b']}")

    def run(self, **kwargs): ...

class Alone(Runnable):
    def run(self, **kwargs): ...

class Closed(ClusterRunnable):
    def __init__(self, place=""):
        super().__init__()

    def setup(self, cluster, extensions, force, **kwargs): ...
    def run(self, **kwargs): ...
"""
ENV = RemoteEnvironment("/k", "10.0.0.1", ["10.0.0.2"], "ubuntu", "me")


class MadeUpHost:
    """An orchestrator that says which Pythons it has."""

    def __init__(self, python: str = "") -> None:
        self.python = python
        self.sent: list[tuple[Path, str]] = []

    def run(self, command: str, *, check: bool = True) -> subprocess.CompletedProcess[str]:
        return subprocess.CompletedProcess([], 0, f"motd\n{self.python}\n" if self.python else "", "")

    def create_dirs(self, folders: list[str]) -> None: ...

    def send(self, local: Path, remote: str) -> None:
        self.sent.append((local, remote))

    def get_home_path(self) -> str:
        return "/home/u"


class MadeUpCluster:
    """A cluster that notes what is asked of it."""

    expose_sites = False

    def __init__(self, python: str = "", error: Exception | None = None) -> None:
        self.orchestrator = MadeUpHost(python)
        self.error = error
        self.prepared: dict[str, Any] = {}

    def refresh_ray(self, *, always: bool = False) -> None: ...

    def get_remote_env(self, user_provider: Any) -> RemoteEnvironment:
        return ENV

    def get_orch_home_path(self) -> str:
        return "/home/u"

    def prepare_run(self, variables: dict[str, Any], *, playbook: str, tags: Sequence[str] = ()) -> bool:
        self.prepared = {**variables, "playbook": playbook, **({"tags": tags} if tags else {})}
        if self.error:
            raise self.error
        return True


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An extension, and secrets."""
    (tmp_path / "ext").mkdir()
    (tmp_path / "ext" / "pyproject.toml").write_text("[project]\n")
    (tmp_path / "ext" / f"{MODULE}.py").write_text(CODE)
    (tmp_path / "secrets.ini").write_text("[A]\nb = c\n")
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield tmp_path
    sys.modules.pop(MODULE, None)


def make(folder: Path, runnable: str) -> Custom:
    file = folder / "mine.yaml"
    file.write_text(f"{MODULE}: ext  # local\n---\n!{MODULE}.{runnable}\n")
    made = submission.make_runnable(read(file), lambda: "me", secrets_file=folder / "secrets.ini")
    assert isinstance(made, Custom)
    return made


def set_up(made: Custom, cluster: MadeUpCluster, *, force: bool = False) -> None:
    setup: Any = made.setup_inject_env
    setup(cluster, {MODULE: "x"}, force, fresh_ray=False)


def test_what_setup_set_and_the_environment_reach_the_orchestrator(folder: Path) -> None:
    made = make(folder, "Mine\nplace: here  # changes")
    set_up(made, MadeUpCluster(), force=True)
    text = made.to_yaml({MODULE: "/home/u/x", "another": "/y"})
    sent = from_text(text.replace("/home/u/x", str(folder / "ext")), folder / "mine.yaml")
    assert f"{MODULE}: /home/u/x  # local" in text
    assert "place: /there/x/c" in text
    assert 'orchestrator_ip: "10.0.0.1"' in text
    assert sent.tag == f"!{MODULE}.Mine"
    assert (made.name, made.results, made.options) == (f"{MODULE}.Mine", "", ("--force",))


def test_without_force_there_is_none_on_the_orchestrator(folder: Path) -> None:
    made = make(folder, "Mine {}")
    set_up(made, MadeUpCluster())
    assert made.options == ()


@pytest.mark.parametrize(
    ("runnable", "said"),
    [
        ("Alone {}", r"mine.yaml:3:1: !custom_run_ext.Alone is no ClusterRunnable: it runs here alone"),
        ("Closed {}", r"mine.yaml:3:1: !custom_run_ext.Closed does not take env: .*\*\*kwargs"),
        ("Other {}", "no such class"),
        ("Mine {wrong: 1}", "wrong"),
    ],
)
def test_what_cannot_run_on_a_cluster_is_refused_first(folder: Path, runnable: str, said: str) -> None:
    with pytest.raises(ClusterConfigurationError, match=said):
        make(folder, runnable)


def test_an_error_in_setup_names_its_place(folder: Path) -> None:
    with pytest.raises(RunError, match=rf"!{MODULE}.Mine.setup raised LookupError: odd \(.*{MODULE}.py:14\)"):
        set_up(make(folder, "Mine {trouble: odd}"), MadeUpCluster())
    with pytest.raises(ClusterError, match=r"^no room$"):
        set_up(make(folder, "Mine {trouble: own}"), MadeUpCluster())


@pytest.mark.parametrize("runnable", ["Mine {folder: a//b/}", "Mine {later: a/b}", "Mine {folder: c, later: ./a/b}"])
def test_results_are_shown_once_setup_is_content(folder: Path, runnable: str) -> None:
    made, cluster = make(folder, runnable), MadeUpCluster()
    set_up(made, cluster)
    assert made.results == "a/b"
    assert cluster.prepared == {
        "playbook": "runnable.yml",
        "tags": ["tensorboard"],
        "tensorboard_logdir": "/home/u/a/b",
        "tensorboard_host": "127.0.0.1",
    }


def test_without_results_or_where_setup_refuses_nothing_else_is_shown(folder: Path) -> None:
    cluster = MadeUpCluster()
    set_up(make(folder, "Mine {folder: a, later: ''}"), cluster)
    with pytest.raises(ClusterError):
        set_up(make(folder, "Mine {folder: a, trouble: own}"), cluster)
    assert cluster.prepared == {}


@pytest.mark.parametrize("value", ["/srv", "..", "a/../b", "~/a", ".", '"a\\nb"', "3", "[a]", "null"])
def test_results_elsewhere_are_refused(folder: Path, value: str) -> None:
    with pytest.raises(ClusterConfigurationError, match=rf"mine.yaml:3:1: !{MODULE}.Mine.results is .*, no relative"):
        make(folder, f"Mine {{folder: {value}}}")


def test_results_elsewhere_that_setup_sets_are_refused_too(folder: Path) -> None:
    cluster = MadeUpCluster()
    with pytest.raises(ClusterConfigurationError, match=r"results is '/home/u/a', no relative path"):
        set_up(make(folder, "Mine {later: /home/u/a}"), cluster)
    assert cluster.prepared == {}


@pytest.fixture
def wheel(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Wheel:
    made = Wheel(path=tmp_path / "flambe_ansible-1.0+content.ab-py3-none-any.whl", name="", version="", digest="")
    monkeypatch.setattr(own_runtime, "build_wheel", lambda source: made)
    return made


def test_a_checkout_is_sent_as_its_wheel(folder: Path, wheel: Wheel) -> None:
    cluster: Any = MadeUpCluster("3.12")
    make(folder, "Mine {}").prepare(cluster, {MODULE: "/home/u/x"})
    place = f".cache/flambe-ansible/{wheel.path.name}"
    assert cluster.orchestrator.sent == [(wheel.path, place)]
    assert cluster.prepared == {
        "playbook": "runnable.yml",
        "extensions_packages": {MODULE: "/home/u/x"},
        "runnable_root": "/opt/flambe-ansible",
        "runnable_requirements": [f"flambe-ansible @ file:///home/u/{place}"],
        "runnable_python_version": "3.12",
    }


def test_an_installed_version_is_asked_for_exactly(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flambe_ansible.paths.PACKAGE", folder / "site-packages" / "flambe_ansible")
    cluster: Any = MadeUpCluster("3.11")
    make(folder, "Mine {}").prepare(cluster, {})
    assert cluster.prepared["runnable_requirements"] == [f"flambe-ansible=={__version__}"]
    assert cluster.orchestrator.sent == []


@pytest.mark.parametrize(("python", "said"), [("", "no Python 3.11 or later"), ("3.11", "^runnable.yml failed$")])
def test_a_missing_python_is_told_in_one_line(folder: Path, wheel: Wheel, python: str, said: str) -> None:
    cluster: Any = MadeUpCluster(python, PlaybookError("runnable.yml failed", log="/log"))
    with pytest.raises(PlaybookError, match=said) as caught:
        make(folder, "Mine {}").prepare(cluster, {})
    assert caught.value.log == "/log"


def test_a_missing_python_comes_with_what_to_do(folder: Path, wheel: Wheel) -> None:
    cluster: Any = MadeUpCluster("", PlaybookError("runnable.yml failed", log="/log"))
    with pytest.raises(PlaybookError) as caught:
        make(folder, "Mine {}").prepare(cluster, {})
    ways = "apt-get install python3.12 or python3.11, or a build below /opt"
    assert [line.plain for line in render_error(caught.value)] == [
        "error: the orchestrator has no Python 3.11 or later for runnables of your own, and none could be fetched",
        "full log: /log",
        f"next: install one by setup_cmds or in the image: {ways}",
    ]


def test_the_playbook_alone_makes_the_runtime_that_a_submit_uses() -> None:
    [play] = yaml.safe_load((collection() / "playbooks" / PLAYBOOK).read_text())
    found = {name: value for role in play["roles"] for name, value in role.get("vars", {}).items()}
    assert (
        found["flambe_root"] == found["extensions_root"] == f"{{{{ runnable_root | default('{own_runtime.ROOT}') }}}}"
    )
    assert found["flambe_requirements"] == f"{{{{ runnable_requirements | default(['{own_runtime.NAME}']) }}}}"
    assert found["flambe_python_version"] == (
        f"{{{{ runnable_python_version | default('{own_runtime.PYTHONS[0]}') }}}}"
    )
    assert found["flambe_python_url"] == "{{ runnable_python_url | default('') }}"
    assert found["flambe_python_sha256"] == "{{ runnable_python_sha256 | default('') }}"


def test_the_search_finds_a_python_that_is_new_enough(tmp_path: Path) -> None:
    home = tmp_path / "home"
    found = home / ".pyenv/versions/3.11.9/bin/python3.11"
    found.parent.mkdir(parents=True)
    found.touch(0o755)
    search = own_runtime.write_search().replace("/opt/", f"{tmp_path}/none/").replace("command -v", "false")
    done = subprocess.run(["bash", "-c", search], env={"HOME": str(home)}, capture_output=True, text=True, check=False)
    assert done.stdout == "3.11\n"


def test_the_versions_are_those_that_this_package_says() -> None:
    checkout = own_runtime.find_checkout()
    assert checkout is not None
    assert 'requires-python = ">=3.11"' in (checkout / "pyproject.toml").read_text()
    assert min(own_runtime.PYTHONS, key=lambda one: int(one.partition(".")[2])) == "3.11"
