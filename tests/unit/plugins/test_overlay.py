"""Extensions on top of an environment: what is installed, and when the folder is made again."""

from __future__ import annotations

import getpass
import pwd
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.flambe.cluster.plugins.module_utils import overlay


def add(folder: Path, name: str, version: str, *, local: bool = False) -> None:
    info = folder / f"lib/python3.12/site-packages/{name}-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "RECORD").write_text(f"{info.name}/METADATA,,\n")
    (info / "METADATA").touch()
    if local:
        (info / "direct_url.json").touch()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A root whose environment has Ray, a build of torch, and a package of the user."""
    for name, version, local in (("ray", "2.60.0", False), ("torch", "2.13.0+cpu", False), ("ours", "1.0", True)):
        add(tmp_path / "venv", name, version, local=local)
    return tmp_path


def make(root: Path, packages: dict[str, str], requires: dict[str, list[str]] | None = None) -> Any:
    places = {"environment": f"{root}/venv", "overlay": f"{root}/extensions", "requires": requires or {}}
    params = {"root": str(root), "packages": packages, "missing_ok": False, **places}
    made = overlay.Overlay(params, pwd.getpwnam(getpass.getuser()))
    made.inspect()
    return made


class Uv:
    """Resolves to fixed lines."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []

    def compile(self, requirements: list[str], constraints: list[str], options: list[str], excludes: list[str]) -> Any:
        self.calls.append((requirements, sorted(constraints), excludes))
        return ["ray==2.60.0", "torch==2.13.0", "nltk==3.9", "/tmp/w/mine-1-py3-none-any.whl"]

    def add(self, python: str, prefix: str, requirements: list[str], reinstall: list[str]) -> None:
        self.calls.append((Path(prefix).name, requirements, reinstall))


def test_only_what_the_environment_lacks_is_installed(root: Path) -> None:
    uv = Uv()
    make(root, {}).install_packages(uv, {"mine": "/tmp/w/mine-1-py3-none-any.whl", "n": "nltk"}, ["mine"])
    resolved, added = uv.calls
    # An index may not have a local build, or a package that was installed from a file.
    assert resolved[1:] == (["ray==2.60.0", "torch==2.13.0"], ["ours"])
    assert added == ("extensions", ["nltk==3.9", "/tmp/w/mine-1-py3-none-any.whl"], ["mine"])


def test_an_extension_of_the_environment_is_installed_too(root: Path) -> None:
    uv = Uv()
    make(root, {}).install_packages(uv, {"ours": "/tmp/w/ours-2-py3-none-any.whl"}, ["ours"])
    assert uv.calls[0][2] == []


def test_requirements_can_replace_those_of_an_extension(root: Path) -> None:
    uv = Uv()
    packages = {"big_one": "/tmp/w/big_one-1-py3-none-any.whl", "mine": "/tmp/w/mine-1-py3-none-any.whl"}
    make(root, {}, {"big_one": ["click>=8"]}).install_packages(uv, packages, [])
    resolved, added = uv.calls
    # The resolution does not see it, even if another extension requires it.
    assert (resolved[0], resolved[2]) == ([packages["mine"], "click>=8"], ["big-one", "ours"])
    assert added[1][-1] == packages["big_one"]


def test_all_are_installed_again_if_the_environment_changes(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    packages = {"nltk": "nltk==3.9"}
    made = make(root, packages)
    assert made.todo == ["nltk"]
    made.make_target()
    add(root / "extensions", "nltk", "3.9")
    made.write_record({"nltk": {"digest": overlay_digest("nltk==3.9"), "distribution": "nltk"}})
    assert make(root, packages).todo == []
    assert make(root, packages).import_environment()["PYTHONPATH"] == f"{root}/extensions/lib/python3.12/site-packages"
    add(root / "venv", "numpy", "2.0")
    changed = make(root, packages)
    assert changed.todo == ["nltk"]
    changed.make_target()
    assert [path.name for path in (root / "extensions").iterdir()] == ["flambe-overlay.json"]


def overlay_digest(requirement: str) -> str:
    from ansible_collections.flambe.cluster.plugins.module_utils import extensions

    found: str = extensions.digest(("", requirement))
    return found
