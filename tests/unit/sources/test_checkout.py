"""Wheels of checkouts have a version with the digest of their content."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from flambe_ansible.errors import SourceError
from flambe_ansible.events import Event, Notice
from flambe_ansible.pythons import find_uv
from flambe_ansible.runtimes import RuntimeVersion
from flambe_ansible.runtimes.flambe_version import build
from flambe_ansible.sources import build_wheel

MakePackage = Callable[[Path], Path]


@pytest.fixture
def source(tmp_path: Path, make_package: MakePackage, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("UV_OFFLINE", "1")
    return make_package(tmp_path / "source")


def test_a_wheel_is_built_once_for_the_same_content(source: Path, tmp_path: Path) -> None:
    before = {one.relative_to(source) for one in source.rglob("*")}
    wheel = build_wheel(source, cache=tmp_path / "cache")
    assert (wheel.name, wheel.version) == ("ext", f"1.0+content.{wheel.digest[:12]}")
    assert {one.relative_to(source) for one in source.rglob("*")} == before
    (source / "ext" / "__pycache__").mkdir()
    again = build_wheel(source, cache=tmp_path / "cache")
    assert again == wheel
    assert again.path.stat().st_mtime_ns == wheel.path.stat().st_mtime_ns
    (source / "ext" / "__init__.py").write_text("ANSWER = 43\n")
    assert build_wheel(source, cache=tmp_path / "cache").version != wheel.version


def test_an_installer_accepts_the_wheel(source: Path, tmp_path: Path) -> None:
    wheel = build_wheel(source, cache=tmp_path / "cache")
    target = tmp_path / "installed"
    uv = find_uv()
    command = [uv, "pip", "install", "--python", sys.executable, "--quiet", "--no-deps", "--target", str(target)]
    subprocess.run([*command, str(wheel.path)], check=True)
    code = "import ext, importlib.metadata as m; print(ext.ANSWER, m.version('ext'))"
    done = subprocess.run(
        [sys.executable, "-c", code], env={"PYTHONPATH": str(target)}, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["42", wheel.version]


def test_every_file_is_in_the_record(source: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(build_wheel(source, cache=tmp_path / "cache").path) as wheel:
        names = wheel.namelist()
        (record,) = [name for name in names if name.endswith(".dist-info/RECORD")]
        listed = [line.split(",")[0] for line in wheel.read(record).decode().splitlines()]
        metadata = wheel.read(record.replace("RECORD", "METADATA")).decode()
    assert sorted(listed) == sorted(names)
    assert any(name.startswith("ext-1.0+content.") and name.endswith(".data/scripts/ext-run") for name in names)
    assert metadata.count("Version: 1.0+content.") == 1
    assert "Version: of the text" in metadata


def test_invalid_checkouts(source: Path, tmp_path: Path) -> None:
    (source / "broken").touch()
    with pytest.raises(SourceError, match="this does not build"):
        build_wheel(source, cache=tmp_path / "cache")
    assert not list((tmp_path / "cache").rglob("*.whl"))
    with pytest.raises(SourceError, match=r"no pyproject\.toml or setup\.py"):
        build_wheel(tmp_path, cache=tmp_path / "cache")


def test_a_checkout_of_flambe(source: Path, tmp_path: Path) -> None:
    release = RuntimeVersion(version="0.4.18", origin="as configured")
    assert build(release) == release
    rename(source, "flambe-1.0-py3-none-any")
    checkout = RuntimeVersion(version="", origin="built from here", source=source)
    received: list[Event] = []
    built = build(checkout, cache=tmp_path / "cache", observer=received.append)
    assert built.version.startswith("1.0+content.")
    assert built.wheel is not None
    assert f"-{built.version}-" in built.wheel.name
    assert (built.origin, built.source) == ("built from here", source)
    assert received == [Notice(message=f"building a wheel of {source}: its content is new")]
    assert build(checkout, cache=tmp_path / "cache", observer=received.append) == built
    assert len(received) == 1


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("ext-1.0-py3-none-any", "a checkout of ext, not of flambe"),
        ("flambe-1.0-cp311-cp311-linux_x86_64", "the wheel is for cp311-cp311-linux_x86_64; the hosts need"),
    ],
)
def test_unsuitable_wheels_are_refused(source: Path, tmp_path: Path, name: str, message: str) -> None:
    rename(source, name)
    with pytest.raises(SourceError, match=message):
        build(RuntimeVersion(version="", origin="", source=source), cache=tmp_path / "cache")


def test_an_unreadable_checkout(source: Path, tmp_path: Path) -> None:
    os.mkfifo(source / "pipe")
    with pytest.raises(SourceError, match=r"cannot be built into a wheel: .*named pipe"):
        build_wheel(source, cache=tmp_path / "cache")


def rename(source: Path, wheel: str) -> None:
    """Make a package build a wheel with another name."""
    name, version, tags = wheel.split("-", 2)
    backend = (source / "backend.py").read_text().replace("ext-1.0-py3-none-any", wheel)
    backend = backend.replace("ext-1.0.", f"{name}-{version}.").replace("Name: ext", f"Name: {name}")
    (source / "backend.py").write_text(backend.replace("Tag: py3-none-any", f"Tag: {tags}"))
    (source / "pyproject.toml").write_text((source / "pyproject.toml").read_text().replace('"ext"', f'"{name}"'))
