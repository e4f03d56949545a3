"""What a virtual environment holds, from its files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from ansible_collections.flambe.cluster.plugins.module_utils import interpreters, venv


@pytest.fixture
def environment(tmp_path: Path) -> Path:
    site = tmp_path / "lib/python3.7/site-packages"
    for name, files in {
        "flambe-0.4.18": ["flambe/__init__.py", "../../../bin/flambe"],
        "Two_Words-1.0": ["two.py"],
    }.items():
        info = site / f"{name}.dist-info"
        info.mkdir(parents=True)
        rows = [*files, f"{name}.dist-info/RECORD", "flambe/__pycache__/x.pyc", "/usr/share/elsewhere"]
        (info / "RECORD").write_text("".join(f"{row},sha256=x,1\n" for row in rows))
        for file in files:
            path = site / file
            (tmp_path / "bin").mkdir(exist_ok=True)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("")
    return tmp_path


def test_installed(environment: Path) -> None:
    assert {name: version for name, (version, _) in venv.installed(str(environment)).items()} == {
        "flambe": "0.4.18",
        "two-words": "1.0",
    }


def test_damaged(environment: Path) -> None:
    site = environment / "lib/python3.7/site-packages"
    assert venv.damaged(str(environment)) == []
    (environment / "bin/flambe").unlink()
    assert venv.damaged(str(environment)) == ["flambe"]
    (site / "Two_Words-1.0.dist-info/RECORD").unlink()
    assert venv.damaged(str(environment)) == ["flambe", "two-words"]


@pytest.mark.parametrize(
    ("requirement", "expected"),
    [
        ("flambe==0.4.18", {"flambe": "0.4.18"}),
        ("Ray[default] == 2.52.0 ; python_version > '3.9'", {"ray": "2.52.0"}),
        ("torch>=2", {}),
        ("torch==2.*", {}),
        ("psutil", {}),
    ],
)
def test_pins(requirement: str, expected: dict[str, str]) -> None:
    assert venv.pins([requirement]) == expected


def test_wrong_pins(environment: Path) -> None:
    assert venv.wrong_pins(str(environment), ["flambe==0.4.18", "two.words==1.0"]) == []
    assert venv.wrong_pins(str(environment), ["flambe==0.4.17", "ray==1"]) == [
        "flambe 0.4.18 instead of 0.4.17",
        "ray missing instead of 1",
    ]


@pytest.mark.parametrize("text", ["", "{", "[]", None])
def test_an_unreadable_marker_is_none(tmp_path: Path, text: str | None) -> None:
    if text is not None:
        (tmp_path / venv.MARKER).write_text(text)
    assert venv.read_marker(str(tmp_path)) == {}


@pytest.mark.parametrize(
    ("version", "wanted", "expected"),
    [("3.7.9", "3.7", True), ("3.7.9", "3.7.9", True), ("3.70.1", "3.7", False), ("3.7.16", "3.7.1", False)],
)
def test_versions_match_by_their_parts(version: str, wanted: str, expected: bool) -> None:
    assert interpreters.matches(version, wanted) is expected


def test_describe_download() -> None:
    version, text = interpreters.describe_download("https://x/cpython-3.7.9-x86_64.tar.zst", "ab", "3.7")
    [entry] = json.loads(text).values()
    assert version == "3.7.9"
    assert (entry["major"], entry["minor"], entry["patch"], entry["sha256"]) == (3, 7, 9, "ab")
    assert interpreters.describe_download("https://x/python.tar.gz", "ab", "3.7")[0] == "3.7.0"
