"""Custom runnables: created from a file, changed, and written as YAML."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from flambe_ansible.errors import ClusterConfigurationError
from flambe_ansible.runnable import ClusterRunnable, RemoteEnvironment, Runnable, load

EXTENSION = """
from flambe_ansible.runnable import ClusterRunnable, Runnable

class Greeting:
    def __init__(self, text, times=1):
        self.text, self.times = text, times

class Greeter(ClusterRunnable):
    def __init__(self, greeting=None, names=(), rate=0.0, target=None, **kwargs):
        super().__init__(**kwargs)
        self.greeting, self.names, self.rate, self.target = greeting, names, rate, target

    def setup(self, cluster, extensions, force, **kwargs):
        self.set_serializable_attr("target", cluster.make_folder("out of here"))

    def run(self, **kwargs):
        return [f"{self.greeting.text} {name}" for name in self.names]

    def parse(self):
        if self.rate > 1:
            raise ValueError("rate")

class Local(Runnable):
    def run(self, **kwargs):
        return self.config["PART"]["WORD"]
"""
FILE = """\
# where the classes are
greeter_ext: ext  # local
---
!greeter_ext.Greeter  # greets

greeting: !greeter_ext.Greeting {text: Hello, times: 2}
names: &names [Ada, "no"]  # two
rate: 5e-1
"""
ENV = RemoteEnvironment("/k", "10.0.0.1", ["10.0.0.2", "10.0.0.3"], "ubuntu", "me")


class FakeCluster:
    def make_folder(self, name: str) -> Path:
        return Path("/home/u") / name

    def get_remote_env(self, user_provider: Any) -> RemoteEnvironment:
        return RemoteEnvironment("/k", "10.0.0.1", [], "ubuntu", user_provider())


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    package = tmp_path / "ext" / "greeter_ext"
    package.mkdir(parents=True)
    (tmp_path / "ext" / "setup.py").touch()
    (package / "__init__.py").write_text("from greeter_ext.runnables import Greeter, Greeting, Local\n")
    (package / "runnables.py").write_text(EXTENSION)
    monkeypatch.syspath_prepend(str(tmp_path / "ext"))
    yield tmp_path
    for name in [one for one in sys.modules if one.startswith("greeter_ext")]:
        del sys.modules[name]


def write(folder: Path, text: str) -> Path:
    path = folder / "x.yaml"
    path.write_text(text)
    return path


def test_load(folder: Path) -> None:
    runnable: Any = load(write(folder, FILE))
    assert isinstance(runnable, ClusterRunnable)
    assert (runnable.greeting.text, runnable.greeting.times) == ("Hello", 2)
    assert (runnable.names, runnable.rate, runnable.env) == (["Ada", "no"], 0.5, None)
    assert runnable.extensions == {"greeter_ext": "ext"}
    assert runnable.content == FILE
    assert runnable.run() == ["Hello Ada", "Hello no"]


def test_local_setup_and_load_on_the_orchestrator(folder: Path) -> None:
    here: Any = load(write(folder, FILE))
    here.user_provider = lambda: "ada"
    here.setup_inject_env(FakeCluster(), {}, force=False)
    text = here.to_yaml({"greeter_ext": str(folder / "ext")})
    assert text == FILE.replace("greeter_ext: ext ", f'greeter_ext: "{folder}/ext" ').replace(
        "# greets\n",
        '# greets\ntarget: "/home/u/out of here"\nenv: !RemoteEnvironment {key: /k, orchestrator_ip: "10.0.0.1", '
        "factories_ips: [], user: ubuntu, local_user: ada, public_orchestrator_ip: null, "
        "public_factories_ips: null}\n",
    ).replace(f'"{folder}/ext"', f"{folder}/ext")
    there: Any = load(write(folder, text))
    assert there.target == "/home/u/out of here"
    assert there.env == here.env
    assert there.greeting.text == "Hello"


def test_created_in_python(folder: Path) -> None:
    import greeter_ext  # type: ignore[import-not-found]

    made = greeter_ext.Greeter(None, names=["Ada"], rate=1, env=ENV)
    made.set_serializable_attr("target", Path("/there"))
    again: Any = load(write(folder, made.to_yaml({"greeter_ext": "ext"})))
    assert (again.names, again.rate, again.env, again.target) == (["Ada"], 1, ENV, "/there")
    assert greeter_ext.Local().to_yaml() == "!greeter_ext.Local {}\n"
    with pytest.raises(TypeError, match="cannot be written as YAML: object"):
        made.set_serializable_attr("target", object())


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0x1F", 31),
        ("-1_000", -1000),
        ("1e-3", 0.001),
        (".inf", float("inf")),
        ("no", "no"),
        ("~", None),
        ("'5'", "5"),
        ("True", True),
        ("2020-01-01", "2020-01-01"),
        ("[&a {b: 1}, *a]", [{"b": 1}, {"b": 1}]),
    ],
)
def test_values(text: str, value: object, folder: Path) -> None:
    runnable: Any = load(write(folder, f"greeter_ext: ext\n---\n!greeter_ext.Greeter\ntarget: {text}\n"))
    assert runnable.target == value


def test_secrets_are_not_interpolated(folder: Path) -> None:
    secrets = folder / "secrets.ini"
    secrets.write_text("[PART]\nWORD = 50%_of\n")
    runnable: Any = load(write(folder, "greeter_ext: ext\n---\n!greeter_ext.Local\n"), secrets=secrets)
    assert runnable.run() == "50%_of"
    secrets.write_text("[PART]\nWORD = after a byte order mark\n", encoding="utf-8-sig")
    runnable = load(folder / "x.yaml", secrets=secrets)
    assert runnable.run() == "after a byte order mark"
    secrets.write_text("hunter2\n")
    with pytest.raises(ClusterConfigurationError, match="not an INI file") as caught:
        runnable.inject_secrets(secrets)
    assert "hunter2" not in str(caught.value)
    secrets.write_text("[PART]\nWORD = hunter2\n[PART]\n")
    with pytest.raises(ClusterConfigurationError, match=r":3:1: the section \[PART\] is set twice"):
        runnable.inject_secrets(secrets)


HEAD = "greeter_ext: ext\n---\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("!Experiment\nname: x\npipeline:\n  a: !A\n", "runs in flambé's runtime"),
        (HEAD + "!greeter_ext.Nobody\n", "3:1: !greeter_ext.Nobody: the extension has no such subclass"),
        (
            HEAD + "!greeter_ext.Greter\n",
            "no such subclass of flambe_ansible.Runnable; did you mean !greeter_ext.Greeter?",
        ),
        (HEAD + "!greeter_ext.Greeting {text: x}\n", "no such subclass of flambe_ansible.Runnable"),
        (HEAD + "!greeter_ext.Greeter\nnmes: [a]\n", "Greeter does not take nmes"),
        (HEAD + "!greeter_ext.Greeter [a]\n", "must be followed by a mapping"),
        (HEAD + "!greeter_ext.Greeter\ngreeting: !greeter_ext.None {}\n", "4:11: .*no such class"),
        (HEAD + "!greeter_ext.Greeter\ngreeting: !greeter_ext.Greeting {}\n", "missing 1 required"),
        (HEAD + "!greeter_ext.Greeter\nenv: !RemoteEnvironment {key: x}\n", "missing 4 required"),
        (HEAD + "!greeter_ext.Greeter\nenv: !Other {key: x}\n", "neither !RemoteEnvironment nor"),
        ("no_such_module_here: numpy\n---\n!no_such_module_here.X\n", "1:22: extension no_such_module_here"),
    ],
)
def test_files_that_cannot_be_loaded(text: str, message: str, folder: Path) -> None:
    with pytest.raises(ClusterConfigurationError, match=message):
        load(write(folder, text))


def test_an_environment_ignores_unknown_keys() -> None:
    values = {
        "key": "/k",
        "orchestrator_ip": "10.0.0.1",
        "factories_ips": ["10.0.0.2", "10.0.0.3"],
        "user": "ubuntu",
        "local_user": "me",
        "of_a_later_version": 1,
    }
    assert RemoteEnvironment.from_mapping(values) == ENV


def test_the_base_class_is_abstract() -> None:
    with pytest.raises(TypeError, match="abstract"):
        Runnable()  # type: ignore[abstract]
