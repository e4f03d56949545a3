"""The wheel of an installed distribution, rebuilt from its files."""

from __future__ import annotations

import csv
import zipfile
from importlib import metadata
from pathlib import Path

import pytest

from flambe_ansible.errors import SourceError
from flambe_ansible.sources import rebuild_wheel


def install(site: Path, monkeypatch: pytest.MonkeyPatch, *, listed: bool = True) -> None:
    """Install a distribution with a command, compiled files and the records of an installer."""
    info = "my_tool-1.2.dist-info"
    files = {
        "my_tool/__init__.py": "x = 1\n",
        "my_tool/data, more.txt": "data",
        "my_tool/__pycache__/__init__.cpython-311.pyc": "",
        "../../../bin/my-tool": "#!/usr/bin/python",
        f"{info}/METADATA": "Metadata-Version: 2.1\nName: my-tool\nVersion: 1.2\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/INSTALLER": "pip",
        f"{info}/direct_url.json": "{}",
        f"{info}/entry_points.txt": "[console_scripts]\nmy-tool = my_tool:main\n",
    }
    for name, text in files.items():
        (site / name).parent.mkdir(parents=True, exist_ok=True)
        (site / name).write_text(text)
    if listed:
        with (site / info / "RECORD").open("w", newline="") as file:
            csv.writer(file).writerows([name, "", ""] for name in [*files, f"{info}/RECORD"])
    monkeypatch.syspath_prepend(site)


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """Return the path of an empty site-packages folder."""
    return tmp_path / "lib" / "python3" / "site-packages"


def test_the_wheel_has_the_files_of_the_distribution(
    site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(site, monkeypatch)
    wheel = rebuild_wheel("my-tool", cache=tmp_path / "cache")
    assert (wheel.name, wheel.version) == ("my-tool", f"1.2+content.{wheel.digest[:12]}")
    info = f"my_tool-{wheel.version}.dist-info"
    with zipfile.ZipFile(wheel.path) as archive:
        assert sorted(archive.namelist()) == sorted(
            [
                "my_tool/__init__.py",
                "my_tool/data, more.txt",
                *(f"{info}/{name}" for name in ("METADATA", "RECORD", "WHEEL", "entry_points.txt")),
            ]
        )
        assert f"Version: {wheel.version}\n" in archive.read(f"{info}/METADATA").decode()
        recorded = [row[0] for row in csv.reader(archive.read(f"{info}/RECORD").decode().splitlines())]
        assert sorted(recorded) == sorted(archive.namelist())
    assert rebuild_wheel("my-tool", cache=tmp_path / "cache") == wheel
    (site / "my_tool/__init__.py").write_text("x = 2\n")
    assert rebuild_wheel("my-tool", cache=tmp_path / "cache").version != wheel.version


def test_a_distribution_without_a_list_of_files(site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(site, monkeypatch, listed=False)
    assert metadata.version("my-tool") == "1.2"
    with pytest.raises(SourceError, match="the installed files are not listed"):
        rebuild_wheel("my-tool", cache=tmp_path / "cache")


def test_a_distribution_that_is_not_installed(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="no-such-tool is not installed on this machine"):
        rebuild_wheel("no-such-tool", cache=tmp_path / "cache")
