"""Digests depend only on the installed files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from flambe_ansible.sources import content


@pytest.fixture
def package(tmp_path: Path, make_package: Callable[[Path], Path]) -> Path:
    return make_package(tmp_path / "package")


CHANGES: dict[str, Callable[[Path], object]] = {
    "content": lambda folder: (folder / "ext" / "__init__.py").write_text("ANSWER = 43\n"),
    "a new file": lambda folder: (folder / "ext" / "new.py").touch(),
    "a file gone": lambda folder: (folder / "backend.py").unlink(),
    "a name": lambda folder: (folder / "ext").rename(folder / "ext2"),
    "executable": lambda folder: (folder / "backend.py").chmod(0o755),
    "a link": lambda folder: (folder / "link").symlink_to("ext"),
}
NO_CHANGES: dict[str, Callable[[Path], object]] = {
    "nothing": lambda folder: None,
    "caches": lambda folder: ((folder / "ext" / "__pycache__").mkdir(), (folder / "ext" / "x.pyc").touch()),
    "git": lambda folder: ((folder / ".git").mkdir(), (folder / ".git" / "HEAD").touch()),
    "builds": lambda folder: (
        (folder / "build").mkdir(),
        (folder / "ext.egg-info").mkdir(),
        (folder / "build" / "x").touch(),
    ),
    "times": lambda folder: (folder / "backend.py").touch(),
}


@pytest.mark.parametrize("case", CHANGES)
def test_changes_affect_the_digest(case: str, package: Path) -> None:
    before = content.digest(package)
    CHANGES[case](package)
    assert content.digest(package) != before


@pytest.mark.parametrize("case", NO_CHANGES)
def test_leftovers_do_not_affect_the_digest(case: str, package: Path) -> None:
    before = content.digest(package)
    NO_CHANGES[case](package)
    assert content.digest(package) == before


def test_build_folders_below_the_top_affect_the_digest(package: Path) -> None:
    before = content.digest(package)
    (package / "ext" / "build").mkdir()
    (package / "ext" / "build" / "x.py").touch()
    assert content.digest(package) != before


def test_sizes(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "one").write_bytes(b"12345")
    (tmp_path / "a" / "two").write_bytes(b"123")
    assert content.size(tmp_path / "a") == 8
    assert content.size(tmp_path / "a" / "one") == 5
