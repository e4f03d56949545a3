"""Digests of extensions, and which extensions are installed again."""

from __future__ import annotations

import getpass
import json
import os
import pwd
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.flambe.cluster.plugins.module_utils import extensions

from flambe_ansible.sources import content

OPTIONS = {"missing_ok": False, "environment": "", "overlay": "", "requires": {}}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An extension's folder."""
    source = tmp_path / "topics"
    (source / "topics").mkdir(parents=True)
    (source / "pyproject.toml").write_text("[project]\nname = 'topics-ext'\n")
    (source / "topics/__init__.py").write_text("A = 1\n")
    return source


def digest(folder: Path) -> str:
    found: str = extensions.digest((str(folder), ""))
    return found


def test_the_digest_of_a_folder_depends_on_its_content(folder: Path) -> None:
    before = digest(folder)
    os.utime(folder / "topics/__init__.py", (1, 1))
    for left in ("build/lib", "topics/__pycache__", "topics_ext.egg-info", ".git"):
        (folder / left).mkdir(parents=True)
        (folder / left / "x.pyc").write_text("left behind")
    assert digest(folder) == before
    (folder / "topics/__init__.py").chmod(0o755)
    executable = digest(folder)
    (folder / "topics/__init__.py").rename(folder / "topics/other.py")
    assert len({before, executable, digest(folder)}) == 3


@pytest.mark.parametrize("name", ["build", "dist"])
def test_packages_named_like_folders_of_builds_are_installed(root: Path, folder: Path, name: str) -> None:
    before = digest(folder)
    for package in (folder / "topics" / name, folder / name):
        package.mkdir()
        (package / "__init__.py").touch()
    assert digest(folder) != before
    built = []

    class Uv:
        def run(self, *words: str, cwd: str) -> None:
            source = Path(words[-1])
            built.extend(sorted(one.relative_to(source).as_posix() for one in source.rglob("*.py")))
            (Path(cwd) / "topics" / "wheel").mkdir()
            (Path(cwd) / "topics" / "wheel" / "topics-1.whl").touch()

    account = pwd.getpwnam(getpass.getuser())
    params = {
        "root": str(root),
        "packages": {"topics": f"{folder}/"},
        "missing_ok": False,
        "environment": "",
        "overlay": "",
    }
    extensions.Extensions(params, account).make_requirement(Uv(), str(root), "topics")
    assert built == ["topics/__init__.py", f"topics/{name}/__init__.py"]


def test_both_sides_leave_out_the_same_files() -> None:
    assert extensions.LEFT_OUT == content.EXCLUDED
    assert extensions.LEFT_OUT_AT_TOP == content.EXCLUDED_AT_TOP


def test_digests_of_requirements_and_archives(tmp_path: Path) -> None:
    archive = tmp_path / "a-1.0.whl"
    archive.write_bytes(b"1")
    first = extensions.digest((str(archive), ""))
    archive.write_bytes(b"2")
    assert first != extensions.digest((str(archive), ""))
    assert extensions.digest(("", "nltk==3.4")) != extensions.digest(("", "nltk==3.5"))


@pytest.mark.parametrize(
    ("requirement", "name"),
    [
        ("nltk==3.4", "nltk"),
        ("My_Pkg[extra]>=1 ; python_version<'3.8'", "my-pkg"),
        ("pkg @ https://host/x.zip", "pkg"),
        ("git+https://host/x.git", ""),
        ("https://host/x-1.0.zip", ""),
        ("/tmp/a/My_Pkg-1.0-py3-none-any.whl", "my-pkg"),
        ("/tmp/a/my-pkg-1.0.tar.gz", "my-pkg"),
    ],
)
def test_names_of_distributions(requirement: str, name: str) -> None:
    assert extensions.distribution_of(requirement) == name


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A runtime with topics-ext."""
    site = tmp_path / "root/venv/lib/python3.7/site-packages"
    info = site / "topics_ext-1.0.dist-info"
    info.mkdir(parents=True)
    (site / "topics.py").touch()
    (info / "RECORD").write_text("topics.py,,\ntopics_ext-1.0.dist-info/RECORD,,\n")
    return tmp_path / "root"


def inspect(root: Path, packages: dict[str, str]) -> list[str]:
    account = pwd.getpwnam(getpass.getuser())
    params: dict[str, Any] = {
        "root": str(root),
        "packages": packages,
        "missing_ok": False,
        "environment": "",
        "overlay": "",
    }
    found = extensions.Extensions(params, account)
    found.inspect()
    todo: list[str] = found.todo
    return todo


def record(root: Path, folder: Path) -> None:
    known = {"topics": {"digest": digest(folder), "distribution": "topics-ext"}}
    (root / "venv/flambe-extensions.json").write_text(json.dumps(known))


def test_installed_extensions_are_unchanged(root: Path, folder: Path) -> None:
    packages = {"topics": str(folder)}
    assert inspect(root, packages) == ["topics"]
    record(root, folder)
    assert inspect(root, packages) == []
    assert inspect(root, {**packages, "nltk_data": "nltk-data==0.1"}) == ["nltk_data"]


def test_changed_or_damaged_extensions_are_installed_again(root: Path, folder: Path) -> None:
    record(root, folder)
    lost = root / "venv/lib/python3.7/site-packages/topics.py"
    lost.unlink()
    assert inspect(root, {"topics": str(folder)}) == ["topics"]
    lost.touch()
    (folder / "topics/new.py").touch()
    assert inspect(root, {"topics": str(folder)}) == ["topics"]


def test_a_missing_path(root: Path) -> None:
    with pytest.raises(extensions.ExtensionError, match="extension topics: /no/such/folder is not on this host"):
        inspect(root, {"topics": "/no/such/folder"})


def test_a_message_mentions_an_extension() -> None:
    output = "Because torch-fancy was not found in the package registry and you require torch-fancy, we can conclude"
    assert extensions.is_named(output, "fancy", "torch-fancy==1")
    assert not extensions.is_named(output, "torch", "torch==1.3")
