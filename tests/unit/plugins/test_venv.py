"""The content of a virtual environment, read from its files."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from urllib.parse import quote

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
        (info / "RECORD").write_text("".join(f"{row},sha256=x,{5 if 'bin' in row else 0}\n" for row in rows))
        for file in files:
            path = site / file
            (tmp_path / "bin").mkdir(exist_ok=True)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("#!..." if "bin" in file else "")
    return tmp_path


def test_installed(environment: Path) -> None:
    assert {name: version for name, (version, _) in venv.installed(str(environment)).items()} == {
        "flambe": "0.4.18",
        "two-words": "1.0",
    }


def test_packages_from_no_index(environment: Path) -> None:
    assert venv.not_released(str(environment)) == set()
    (environment / "lib/python3.7/site-packages/Two_Words-1.0.dist-info/direct_url.json").touch()
    assert venv.not_released(str(environment)) == {"two-words"}


def test_damaged(environment: Path) -> None:
    site = environment / "lib/python3.7/site-packages"
    assert venv.damaged(str(environment)) == []
    assert venv.damaged(str(environment), ["flambe", "torch"]) == ["torch"]
    (environment / "bin/flambe").write_text("")
    assert venv.damaged(str(environment)) == ["flambe"]
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
        ("flambe @ file:///w/flambe-0.4.18%2Bcontent.1a-py3-none-any.whl", {"flambe": "0.4.18+content.1a"}),
        ("Two.Words @ file:///w/Two_Words-1.0-py3-none-any.whl#sha256=ab", {"two-words": "1.0"}),
        ("flambe @ https://host/flambe-0.4.18-py3-none-any.whl", {}),
    ],
)
def test_pins(requirement: str, expected: dict[str, str]) -> None:
    assert venv.pins([requirement]) == expected


def test_wrong_pins(environment: Path) -> None:
    assert venv.wrong_pins(str(environment), ["flambe==0.4.18", "two.words==1.0"]) == {}
    assert venv.wrong_pins(str(environment), ["flambe==0.4.17", "ray==1"]) == {
        "flambe": "0.4.18 instead of 0.4.17",
        "ray": "missing instead of 1",
    }


def test_wheels_on_the_host(tmp_path: Path) -> None:
    path = tmp_path / "my wheels" / "flambe-1.0+content.1a-py3-none-any.whl"
    requirement = f"flambe @ file://{quote(str(path))}"
    sha256 = hashlib.sha256(b"1").hexdigest()
    assert venv.wheels([requirement, "ray"]) == {"flambe": (str(path), "")}
    assert venv.wheels([f"{requirement}#sha256={sha256}"]) == {"flambe": (str(path), sha256)}
    assert not venv.is_wheel(str(path), "")
    path.parent.mkdir()
    path.write_bytes(b"1")
    assert venv.is_wheel(str(path), "")
    assert venv.is_wheel(str(path), sha256)
    path.write_bytes(b"2")
    assert not venv.is_wheel(str(path), sha256)
    assert venv.describe([requirement, "ray[x]<1"]) == ["flambe==1.0+content.1a", "ray[x]<1"]


@pytest.mark.parametrize("text", ["", "{", "[]", None])
def test_an_unreadable_marker_is_ignored(tmp_path: Path, text: str | None) -> None:
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
