"""The flambe version on the hosts, found in real environments on the PATH."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from flambe_ansible import pythons
from flambe_ansible.runtimes import RuntimeVersion
from flambe_ansible.runtimes import flambe_version as versions


def make_flambe(folder: Path, version: str = "0.4.16", *, direct_url: object = None) -> None:
    """Write the metadata of an installed flambe."""
    info = folder / f"flambe-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: flambe\nVersion: {version}\n")
    if direct_url is not None:
        (info / "direct_url.json").write_text(json.dumps(direct_url))


@pytest.fixture
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make a separate virtual environment, first on the PATH; the current one has no flambe."""
    folder = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    monkeypatch.setenv("PATH", f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}")
    return folder


def site_packages(environment: Path) -> Path:
    return next(environment.glob("lib/python*/site-packages"))


def write_script(path: Path, first_line: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{first_line}\nexit 3\n")
    path.chmod(0o755)


def test_the_configured_version_takes_precedence(environment: Path) -> None:
    make_flambe(site_packages(environment))
    write_script(environment / "bin" / "flambe", "#!/bin/bash")
    assert versions.resolve("0.4.15") == RuntimeVersion(version="0.4.15", origin="as configured")


def test_the_default_is_the_last_release_with_a_warning(environment: Path) -> None:
    found = versions.resolve()
    assert (found.version, found.source, found.warnings) == ("0.4.18", None, ())
    assert "no flambe is installed here" in found.origin


def test_the_version_in_this_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_flambe(tmp_path, "0.4.14")
    monkeypatch.syspath_prepend(tmp_path)
    assert versions.resolve() == RuntimeVersion(version="0.4.14", origin="installed in this environment")


def test_a_checkout_in_this_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "flambe.egg-info").mkdir()
    (tmp_path / "flambe.egg-info" / "PKG-INFO").write_text("Metadata-Version: 2.1\nName: flambe\nVersion: 0.4.13\n")
    monkeypatch.syspath_prepend(tmp_path)
    found = versions.resolve()
    assert (found.version, found.source) == ("0.4.13", tmp_path)


@pytest.mark.parametrize(
    "first_line", ["#!/bin/bash", "#!{python}", "#!{python} -s", "#!/usr/bin/env python3", "#!/bin/sh"]
)
def test_the_version_on_the_path(environment: Path, first_line: str) -> None:
    make_flambe(site_packages(environment))
    script = environment / "bin" / "flambe"
    write_script(script, first_line.format(python=environment / "bin" / "python"))
    assert versions.resolve() == RuntimeVersion(version="0.4.16", origin=f"installed where {script} comes from")


def test_a_link_to_the_script(environment: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_flambe(site_packages(environment))
    write_script(environment / "bin" / "flambe", "#!/bin/bash")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "flambe").symlink_to(environment / "bin" / "flambe")
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}/usr/bin{os.pathsep}/bin")
    assert versions.resolve().version == "0.4.16"


def test_an_editable_install(environment: Path) -> None:
    direct_url = {"url": "file:///home/me/my%20flambe", "dir_info": {"editable": True}}
    make_flambe(site_packages(environment), direct_url=direct_url)
    write_script(environment / "bin" / "flambe", "#!/bin/bash")
    found = versions.resolve()
    assert (found.version, found.source) == ("0.4.16", Path("/home/me/my flambe"))
    script = environment / "bin" / "flambe"
    assert found.origin == f"built from /home/me/my flambe, installed where {script} comes from"
    assert found.warnings == ()


def test_a_configured_checkout_takes_precedence_and_gets_its_version_from_the_build(environment: Path) -> None:
    make_flambe(site_packages(environment))
    write_script(environment / "bin" / "flambe", "#!/bin/bash")
    found = versions.resolve(source="/home/me/flambe")
    assert found == RuntimeVersion(version="", origin="built from /home/me/flambe", source=Path("/home/me/flambe"))


@pytest.mark.parametrize(
    "direct_url",
    [{"url": "file:///tmp/flambe.whl", "archive_info": {}}, {"url": "file:///x", "dir_info": {}}, [], "nonsense"],
)
def test_other_direct_urls_are_not_checkouts(environment: Path, direct_url: object) -> None:
    make_flambe(site_packages(environment), direct_url=direct_url)
    write_script(environment / "bin" / "flambe", "#!/bin/bash")
    assert versions.resolve().source is None


def test_an_old_editable_install_on_the_path(environment: Path, tmp_path: Path) -> None:
    checkout = tmp_path / "checkout"
    (checkout / "flambe.egg-info").mkdir(parents=True)
    (checkout / "flambe.egg-info" / "PKG-INFO").write_text("Name: flambe\nVersion: 0.4.12\n")
    (site_packages(environment) / "easy-install.pth").write_text(f"{checkout}\n")
    write_script(environment / "bin" / "flambe", "#!/bin/bash")
    found = versions.resolve()
    assert (found.version, found.source) == ("0.4.12", checkout)


@pytest.mark.parametrize(
    "body", ["#!/bin/sh\nexec sleep 600\n", "#!/bin/sh\necho nonsense\n", '#!/bin/sh\necho \'{"version": "x y"}\'\n']
)
def test_an_interpreter_that_does_not_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str) -> None:
    if "sleep" in body:
        monkeypatch.setattr(versions, "TIMEOUT", 0.2)
    for name in ("python3", "python"):
        write_script(tmp_path / name, "")
        (tmp_path / name).write_text(body)
    write_script(tmp_path / "flambe", f"#!{tmp_path / 'python3'}")
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}/usr/bin{os.pathsep}/bin")
    started = time.monotonic()
    assert versions.resolve().version == "0.4.18"
    assert time.monotonic() - started < 300


def test_a_release_that_is_not_on_pypi_is_a_warning() -> None:
    [warning] = versions.resolve("0.4.17").warnings
    assert "0.4.17 is not a release on PyPI" in warning
    assert versions.resolve("0.4.0").warnings == ()
    assert versions.resolve("v0.4.18").version == "0.4.18"


def test_the_default_is_that_of_the_role() -> None:
    defaults = (Path(__file__).parents[3] / "roles" / "flambe" / "defaults" / "main.yml").read_text()
    match = re.search(r'^flambe_version: "?([^"\n]+)"?$', defaults, re.MULTILINE)
    assert match is not None
    assert match.group(1) == versions.DEFAULT_VERSION


def test_uv_is_found_on_linux_x86_64() -> None:
    uv = Path(pythons.find_uv())
    assert uv.read_bytes()[:20].startswith(b"\x7fELF\x02")
    assert uv.read_bytes()[18:20] == b"\x3e\x00"


def test_no_uv_on_other_machines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pythons.platform, "machine", lambda: "aarch64")
    assert pythons.find_uv() == ""
