"""What is known about the releases of Ray, and the Ray on this machine."""

from __future__ import annotations

import importlib.metadata
import platform
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from packaging.version import InvalidVersion, Version

from flambe_ansible.pythons import clean_environment, list_script_interpreters

TESTED = "2.60.0"  # the newest release that this one was tested with
OLDEST = Version("2.10.0")
# The minor versions of Python 3 that have wheels on PyPI, from a release of Ray on: the first and the last.
_PYTHONS = (
    (Version("2.55"), (10, 14)),
    (Version("2.52"), (10, 13)),
    (Version("2.45"), (9, 13)),
    (Version("2.31"), (9, 12)),
    (Version("2.10"), (9, 11)),
)
_PREFERRED = 12
_QUESTION = "import platform; from importlib.metadata import version; print(version('ray'), platform.python_version())"
_TIMEOUT = 10.0  # seconds for another interpreter to answer


@dataclass(frozen=True, kw_only=True)
class LocalRay:
    """The Ray that is installed on this machine.

    Attributes:
        version: Its release.
        python: The version of its Python.
        origin: Where it was found, in words.
    """

    version: str
    python: str
    origin: str


def compare_local(version: str, python: str) -> str:
    """Describe why the Ray on this machine cannot be a client of a cluster, "" if it can, or if there is none.

    A client needs the same release of Ray, and the same minor version of Python.

    Args:
        version: The cluster's release of Ray, or "" if it is unknown.
        python: The version of the cluster's Python, or "" if it is unknown.
    """
    local = find_local()
    if local is None or (version in ("", local.version) and _is_same_minor(local.python, python)):
        return ""
    there = [f"Ray {version}"] * bool(version) + [f"Python {python}"] * bool(python)
    return (
        f"Ray {local.version} on Python {local.python} is {local.origin}, the cluster has {' on '.join(there)}: "
        'ray.init("ray://...") from this machine needs the same Ray and the same minor version of Python'
    )


def list_pythons(version: str) -> list[str]:
    """Return the versions of Python, such as ``3.11``, that have wheels of a release of Ray."""
    release = Version(version)
    first, last = next((minors for start, minors in _PYTHONS if release >= start), _PYTHONS[-1][1])
    return [f"3.{minor}" for minor in range(first, last + 1)]


def is_newer_than_tested(version: str) -> bool:
    """Return whether a release is newer than the last one that was tested."""
    return Version(version) > Version(TESTED)


def choose_python(version: str) -> str:
    """Return the version of Python that is installed for a release of Ray if the hosts' own is not used."""
    pythons = list_pythons(version)
    return f"3.{_PREFERRED}" if f"3.{_PREFERRED}" in pythons else pythons[-1]


def find_local() -> LocalRay | None:
    """Find the Ray in this environment, else the one whose ``ray`` is first on the PATH; it is never imported."""
    try:
        here = importlib.metadata.version("ray")
        return _make(here, platform.python_version(), "installed in this environment")
    except importlib.metadata.PackageNotFoundError:
        pass
    script = shutil.which("ray")
    for interpreter in list_script_interpreters(Path(script)) if script else ():
        answer = _ask(interpreter)
        if answer:
            return _make(*answer, f"installed where {script} comes from")
    return None


def _is_same_minor(local: str, python: str) -> bool:
    return not python or local.split(".")[:2] == python.split(".")[:2]


def _ask(interpreter: str) -> tuple[str, str] | None:
    try:
        done = subprocess.run(
            [interpreter, "-c", _QUESTION],
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=_TIMEOUT,
            check=True,
            env=clean_environment(),
        )
        version, python = done.stdout.split()
    except (OSError, subprocess.SubprocessError, ValueError):
        return None
    return version, python


def _make(version: str, python: str, origin: str) -> LocalRay | None:
    """Describe a local Ray; None for a build that no package index has, or a release that is too old."""
    try:
        found = Version(version)
    except InvalidVersion:
        return None
    if found.is_devrelease or found.local or found < OLDEST:
        return None
    return LocalRay(version=str(found), python=python, origin=origin)
