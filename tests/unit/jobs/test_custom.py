"""Custom runnables as jobs, with autospecs in place of a cluster."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import create_autospec

import pytest
import yaml

from flambe_ansible.errors import ClusterConfigurationError, ClusterError, PlaybookError, RunError, TaskFailure
from flambe_ansible.jobs import own_package, submission
from flambe_ansible.jobs.custom import Custom
from flambe_ansible.jobs.jobs import RUNNABLE_PLAYBOOK, Jobs
from flambe_ansible.paths import collection
from flambe_ansible.runnable import RemoteEnvironment, read
from flambe_ansible.runnable.document import from_text
from flambe_ansible.sources import Wheel
from tests.unit.fleets import HOME, make_connections, make_fleet

MODULE = "custom_run_ext"
CODE = """
from flambe_ansible import ClusterRunnable, Runnable
from flambe_ansible.errors import ClusterError

class Mine(ClusterRunnable):
    def __init__(self, place="", failure="", folder="", later=None, **kwargs):
        super().__init__(**kwargs)
        self.place, self.failure, self.results, self.later = place, failure, folder, later

    def setup(self, cluster, extensions, force, **kwargs):
        if self.failure == "own":
            raise ClusterError("no room")
        if self.failure:
            raise LookupError(self.failure)
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


class FakeCluster:
    """The part of a cluster that ``setup`` of a custom runnable uses."""

    def get_remote_env(self, user_provider: Any) -> RemoteEnvironment:
        return ENV


def make_job_service(python: str = "", error: Exception | None = None) -> Any:
    """Make jobs whose orchestrator has a Python, and whose playbook fails with an error."""
    jobs = create_autospec(Jobs, instance=True)
    jobs.fleet = make_fleet(make_connections(f"motd\n{python}\n" if python else ""))
    jobs.prepare.return_value = True
    jobs.prepare.side_effect = error
    jobs.install_runnable.side_effect = lambda packages: Jobs.install_runnable(jobs, packages)
    jobs.show_results.side_effect = lambda results, expose: Jobs.show_results(jobs, results, expose=expose)
    return jobs


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Return a folder with an extension and secrets."""
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


def set_up(made: Custom, jobs: Any = None, *, force: bool = False) -> Any:
    used = jobs or make_job_service()
    made.set_up(used, FakeCluster(), {MODULE: "x"}, force=force, fresh_ray=False, expose=False)
    return used


def test_attributes_from_setup_and_the_environment_are_sent(folder: Path) -> None:
    made = make(folder, "Mine\nplace: here  # changes")
    set_up(made, force=True)
    text = made.to_yaml({MODULE: "/home/u/x", "another": "/y"})
    sent = from_text(text.replace("/home/u/x", str(folder / "ext")), folder / "mine.yaml")
    assert f"{MODULE}: /home/u/x  # local" in text
    assert "place: /there/x/c" in text
    assert 'orchestrator_ip: "10.0.0.1"' in text
    assert sent.tag == f"!{MODULE}.Mine"
    assert (made.name, made.results, made.options) == (f"{MODULE}.Mine", "", ("--force",))


def test_without_force_no_option_is_passed(folder: Path) -> None:
    made = make(folder, "Mine {}")
    set_up(made)
    assert made.options == ()


@pytest.mark.parametrize(
    ("runnable", "message"),
    [
        ("Alone {}", r"mine.yaml:3:1: !custom_run_ext.Alone is not a ClusterRunnable; it can only run on this machine"),
        ("Closed {}", r"mine.yaml:3:1: !custom_run_ext.Closed does not take env; .*\*\*kwargs"),
        ("Other {}", "no such subclass"),
        ("Mine {wrong: 1}", "wrong"),
    ],
)
def test_runnables_that_cannot_run_on_a_cluster_are_refused_first(folder: Path, runnable: str, message: str) -> None:
    with pytest.raises(ClusterConfigurationError, match=message):
        make(folder, runnable)


def test_an_error_in_setup_has_a_position(folder: Path) -> None:
    with pytest.raises(RunError, match=rf"!{MODULE}.Mine.setup raised LookupError: odd \(.*{MODULE}.py:14\)"):
        set_up(make(folder, "Mine {failure: odd}"))
    with pytest.raises(ClusterError, match=r"^no room$"):
        set_up(make(folder, "Mine {failure: own}"))


@pytest.mark.parametrize("runnable", ["Mine {folder: a//b/}", "Mine {later: a/b}", "Mine {folder: c, later: ./a/b}"])
def test_results_are_shown_after_a_successful_setup(folder: Path, runnable: str) -> None:
    made = make(folder, runnable)
    jobs = set_up(made)
    assert made.results == "a/b"
    shown = {"tensorboard_logdir": f"{HOME}/a/b", "tensorboard_host": "127.0.0.1", "tensorboard_port": 49556}
    jobs.prepare.assert_called_once_with(shown, playbook="runnable.yml", tags=["tensorboard"])


def test_nothing_is_shown_without_results_or_if_setup_fails(folder: Path) -> None:
    jobs = set_up(make(folder, "Mine {folder: a, later: ''}"))
    with pytest.raises(ClusterError):
        set_up(make(folder, "Mine {folder: a, failure: own}"), jobs)
    jobs.prepare.assert_not_called()


@pytest.mark.parametrize("value", ["/srv", "..", "a/../b", "~/a", ".", '"a\\nb"', "3", "[a]", "null"])
def test_results_outside_of_the_home_folder_are_refused(folder: Path, value: str) -> None:
    with pytest.raises(
        ClusterConfigurationError, match=rf"mine.yaml:3:1: !{MODULE}.Mine.results is .*, not a relative"
    ):
        make(folder, f"Mine {{folder: {value}}}")


def test_results_outside_of_the_home_folder_set_by_setup_are_refused(folder: Path) -> None:
    jobs = make_job_service()
    with pytest.raises(ClusterConfigurationError, match=r"results is '/home/u/a', not a relative path"):
        set_up(make(folder, "Mine {later: /home/u/a}"), jobs)
    jobs.prepare.assert_not_called()


@pytest.fixture
def wheel(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Wheel:
    made = Wheel(path=tmp_path / "flambe_ansible-1.0+content.ab-py3-none-any.whl", name="", version="", digest="")
    monkeypatch.setattr("flambe_ansible.sources.build_wheel", lambda source: made)
    return made


def prepare(made: Custom, jobs: Any, packages: dict[str, str]) -> dict[str, Any]:
    """Run prepare and return the variables of the playbook."""
    assert made.prepare(jobs, packages, expose=False) is False
    call = jobs.prepare.call_args
    assert call.kwargs == {"playbook": "runnable.yml"}
    variables: dict[str, Any] = call.args[0]
    return variables


def test_a_checkout_is_sent_as_a_wheel(folder: Path, wheel: Wheel) -> None:
    jobs = make_job_service("3.12")
    found = prepare(make(folder, "Mine {}"), jobs, {MODULE: "/home/u/x"})
    path = f".cache/flambe-ansible/{wheel.path.name}"
    jobs.fleet.connections.put.assert_called_once_with(jobs.fleet.head, wheel.path, path)
    assert found == {
        "cluster_extensions_packages": {MODULE: "/home/u/x"},
        "runnable_root": "/opt/flambe-ansible",
        "runnable_requirements": [f"flambe-ansible @ file://{HOME}/{path}"],
        "runnable_python_version": "3.12",
    }


def test_an_installed_package_is_sent_as_a_wheel(folder: Path, wheel: Wheel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flambe_ansible.paths.PACKAGE", folder / "site-packages" / "flambe_ansible")
    monkeypatch.setattr("flambe_ansible.sources.rebuild_wheel", {"flambe-ansible": wheel}.__getitem__)
    jobs = make_job_service("3.11")
    found = prepare(make(folder, "Mine {}"), jobs, {})
    path = f".cache/flambe-ansible/{wheel.path.name}"
    jobs.fleet.connections.put.assert_called_once_with(jobs.fleet.head, wheel.path, path)
    assert found["runnable_requirements"] == [f"flambe-ansible @ file://{HOME}/{path}"]


def fail_at(step: str) -> PlaybookError:
    failure = TaskFailure(host="demo_orchestrator", role="flambe", task="Install", message="failed", step=step)
    return PlaybookError("runnable.yml failed", failures=[failure], log="/log")


@pytest.mark.parametrize(
    ("step", "message"), [("python", "no Python 3.11 or later"), ("packages", "^runnable.yml failed$")]
)
def test_a_missing_python_is_reported_in_one_line(folder: Path, wheel: Wheel, step: str, message: str) -> None:
    jobs = make_job_service(error=fail_at(step))
    with pytest.raises(PlaybookError, match=message) as caught:
        make(folder, "Mine {}").prepare(jobs, {}, expose=False)
    assert caught.value.log == "/log"


def test_a_missing_python_has_a_hint(folder: Path, wheel: Wheel) -> None:
    jobs = make_job_service(error=fail_at("python"))
    with pytest.raises(PlaybookError) as caught:
        make(folder, "Mine {}").prepare(jobs, {}, expose=False)
    assert "no Python 3.11 or later for custom runnables" in caught.value.message
    assert "setup_cmds" in (caught.value.hint or "")


def test_the_playbook_defaults_to_the_runtime_of_a_submit() -> None:
    [play] = yaml.safe_load((collection() / "playbooks" / RUNNABLE_PLAYBOOK).read_text())
    found = {name: value for role in play["roles"] for name, value in role.get("vars", {}).items()}
    assert (
        found["flambe_root"]
        == found["cluster_extensions_root"]
        == f"{{{{ runnable_root | default('{own_package.ROOT}') }}}}"
    )
    assert found["flambe_requirements"] == f"{{{{ runnable_requirements | default(['{own_package.NAME}']) }}}}"
    assert found["flambe_python_version"] == (
        f"{{{{ runnable_python_version | default('{own_package.PYTHONS[0]}') }}}}"
    )
    assert found["flambe_python_url"] == "{{ runnable_python_url | default('') }}"
    assert found["flambe_python_sha256"] == "{{ runnable_python_sha256 | default('') }}"


def test_the_search_finds_a_recent_python(tmp_path: Path) -> None:
    home = tmp_path / "home"
    found = home / ".pyenv/versions/3.11.9/bin/python3.11"
    found.parent.mkdir(parents=True)
    found.touch(0o755)
    search = own_package.write_search().replace("/opt/", f"{tmp_path}/none/").replace("command -v", "false")
    done = subprocess.run(["bash", "-c", search], env={"HOME": str(home)}, capture_output=True, text=True, check=False)
    assert done.stdout == "3.11\n"


def test_the_versions_match_those_of_this_package() -> None:
    checkout = own_package.find_checkout()
    assert checkout is not None
    assert 'requires-python = ">=3.11"' in (checkout / "pyproject.toml").read_text()
    assert min(own_package.PYTHONS, key=lambda one: int(one.partition(".")[2])) == "3.11"


BLOCKED = """
import importlib.metadata, re, sys
from packaging.requirements import Requirement
required, wanted = sys.argv[1].split(","), {}
names = [Requirement(one).name for one in required]
while names:  # and what they require
    name = re.sub(r"[-_.]+", "-", names.pop()).lower()
    if name not in wanted:
        found = importlib.metadata.distribution(name)
        needs = map(Requirement, found.requires or [])
        wanted[name] = found
        names += [one.name for one in needs if not one.marker or one.marker.evaluate({"extra": ""})]
modules = {path.parts[0].removesuffix(".py") for one in wanted.values() for path in one.files}
modules |= {*sys.stdlib_module_names, "flambe_ansible", "custom_run_ext"}
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] not in modules:
            raise ModuleNotFoundError(name + " is not required", name=name)
sys.meta_path.insert(0, Blocker())
for name in [name for name in sys.modules if name.partition(".")[0] not in sys.stdlib_module_names]:
    if name != "__main__":
        del sys.modules[name]
from flambe_ansible import Cluster, ClusterRunnable
from flambe_ansible import cli
sys.exit(cli.run(["run", "--installed", sys.argv[2]]))
"""


def test_a_runnable_needs_neither_ansible_nor_boto3(folder: Path) -> None:
    (folder / "mine.yaml").write_text(f"{MODULE}: ext\n---\n!{MODULE}.Alone {{}}\n")
    argv = [sys.executable, "-c", BLOCKED, ",".join(own_package.REQUIRED), "mine.yaml"]
    env = {**os.environ, "PYTHONPATH": f"{collection()}:{folder / 'ext'}"}
    done = subprocess.run(argv, cwd=folder, env=env, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_requirements_are_those_of_the_project() -> None:
    project = tomllib.loads((collection() / "pyproject.toml").read_text())["project"]
    assert set(own_package.REQUIRED) < set(project["dependencies"])
