"""The flambe version that the hosts get.

It is the release or checkout that the configuration names; else the flambe installed on this machine, in this
environment or in the one whose ``flambe`` is first on the PATH (for an editable install its checkout); else the last
release. flambe is never imported: its metadata has all that is needed.
"""

from __future__ import annotations

import importlib.metadata
import json
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from urllib.parse import unquote, urlsplit

from packaging.version import InvalidVersion, Version

from flambe_ansible.errors import SourceError
from flambe_ansible.events import Observer, ignore
from flambe_ansible.pythons import clean_environment, list_script_interpreters
from flambe_ansible.runtimes.base import RuntimeVersion

DEFAULT_VERSION = "0.4.18"  # the last release, May 2020
RELEASES = frozenset(f"0.4.{patch}" for patch in (*range(17), 18))  # all releases on PyPI; there is no 0.4.17
TIMEOUT = 10.0  # seconds for another interpreter to answer

# Runs on any Python 3, older than importlib.metadata too; prints one JSON document.
_QUESTION = """
import glob, json, os, sys
for folder in [path for path in sys.path if path]:
    for name in glob.glob(os.path.join(glob.escape(folder), "flambe-*.dist-info", "METADATA")) + glob.glob(
        os.path.join(glob.escape(folder), "flambe-*.egg-info", "PKG-INFO")
    ) + glob.glob(os.path.join(glob.escape(folder), "flambe.egg-info", "PKG-INFO")):
        with open(name, encoding="utf-8", errors="replace") as file:
            version = [line.split(":", 1)[1].strip() for line in file if line.startswith("Version:")]
        url = os.path.join(os.path.dirname(name), "direct_url.json")
        direct = open(url, encoding="utf-8").read() if os.path.exists(url) else ""
        source = folder if name.endswith(os.path.join("flambe.egg-info", "PKG-INFO")) else ""
        if version:
            print(json.dumps({"version": version[0], "direct_url": direct, "source": source}))
            sys.exit(0)
print("null")
"""


def resolve(configured: str | None = None, *, source: str | Path | None = None) -> RuntimeVersion:
    """Determine which flambe the hosts get; build nothing."""
    if configured:
        version = str(Version(configured))
        return RuntimeVersion(version=version, origin="as configured", warnings=_warn(version))
    if source:
        return RuntimeVersion(version="", origin=f"built from {source}", source=Path(source))
    found = _find_here() or _find_on_path()
    return found or RuntimeVersion(
        version=DEFAULT_VERSION, origin="the last release; no flambe is installed here and none is configured"
    )


def build(found: RuntimeVersion, *, cache: Path | None = None, observer: Observer = ignore) -> RuntimeVersion:
    """Build the checkout of a version that has one; a version without one is returned unchanged."""
    if found.source is None:
        return found
    from flambe_ansible.sources import build_wheel

    wheel = build_wheel(found.source, cache=cache, observer=observer)
    if wheel.name != "flambe":
        raise SourceError(f"{found.source}: a checkout of {wheel.name}, not of flambe", source=str(found.source))
    if not wheel.path.stem.endswith("-none-any"):
        tag = wheel.path.stem.split("-", 2)[2]
        message = f"{found.source}: the wheel is for {tag}; the hosts need one for any platform (none-any)"
        raise SourceError(message, source=str(found.source))
    return replace(found, version=wheel.version, wheel=wheel.path)


def _find_here() -> RuntimeVersion | None:
    """Find flambe in the environment of this process."""
    try:
        distribution = importlib.metadata.distribution("flambe")
    except importlib.metadata.PackageNotFoundError:
        return None
    direct = distribution.read_text("direct_url.json") or ""
    folder = Path(str(distribution.locate_file("")))
    checkout = str(folder) if (folder / "flambe.egg-info").is_dir() else ""
    return _make(distribution.version, "installed in this environment", direct_url=direct, folder=checkout)


def _find_on_path() -> RuntimeVersion | None:
    """Find flambe in the environment whose ``flambe`` script is first on the PATH."""
    script = shutil.which("flambe")
    if not script:
        return None
    for interpreter in list_script_interpreters(Path(script)):
        answer = _ask(interpreter)
        if answer:
            origin = f"installed where {script} comes from"
            return _make(answer["version"], origin, direct_url=answer["direct_url"], folder=answer["source"])
    return None


def _ask(interpreter: str) -> dict[str, str] | None:
    """Return the flambe of an interpreter; None also if it does not answer in time."""
    try:
        answer = subprocess.run(
            [interpreter, "-c", _QUESTION],
            capture_output=True,
            stdin=subprocess.DEVNULL,
            timeout=TIMEOUT,
            check=True,
            env=clean_environment(),
        )
        content = json.loads(answer.stdout)
        Version(content["version"])
    except (OSError, subprocess.SubprocessError, ValueError, TypeError, KeyError):
        return None
    return {name: str(content.get(name) or "") for name in ("version", "direct_url", "source")}


def _make(version: str, origin: str, *, direct_url: str, folder: str = "") -> RuntimeVersion | None:
    try:
        version = str(Version(version))
    except InvalidVersion:
        return None
    source = _read_source(direct_url) or (Path(folder) if folder else None)
    if source:
        return RuntimeVersion(version=version, origin=f"built from {source}, {origin}", source=source)
    return RuntimeVersion(version=version, origin=origin, warnings=_warn(version))


def _read_source(direct_url: str) -> Path | None:
    """Read the checkout of an editable install (PEP 610), or None."""
    try:
        content = json.loads(direct_url) if direct_url else {}
        url = urlsplit(str(content["url"]))
        editable = content["dir_info"]["editable"]
    except (ValueError, KeyError, TypeError):
        return None
    return Path(unquote(url.path)) if editable is True and url.scheme == "file" else None


def _warn(version: str) -> tuple[str, ...]:
    if version in RELEASES:
        return ()
    return (f"flambe {version} is not a release on PyPI; the last one is {DEFAULT_VERSION}",)
