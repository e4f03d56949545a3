"""This project's own package on the orchestrator, in exactly the version that runs here."""

from __future__ import annotations

import shlex
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flambe_ansible import __version__, paths
from flambe_ansible.sources import build_wheel

if TYPE_CHECKING:
    from flambe_ansible.cluster.base import Cluster

NAME = "flambe-ansible"
ROOT = "/opt/flambe-ansible"
PROGRAM = (f"{ROOT}/venv/bin/flambe-ans", "run", "--installed")
PYTHONS = ("3.12", "3.11", "3.13", "3.14")  # what this package runs on, the one to take first in front
_FOLDER = ".cache/flambe-ansible"  # of wheels, below the home folder
_PLACES = (f"{ROOT}/python/cpython-V*/bin", "/opt/*/bin", "/opt/*/*/bin", "~/.pyenv/versions/V*/bin")


def variables(cluster: Cluster) -> dict[str, Any]:
    """Send what has to be sent, and return the variables of ``runnable.yml`` for the runtime.

    Raises:
        SourceError: The checkout that runs here cannot be built.
        RemoteCommandError: The orchestrator did not take it.
    """
    return {
        "runnable_root": ROOT,
        "runnable_requirements": [_send(cluster)],
        "runnable_python_version": find_python(cluster) or PYTHONS[0],
    }


def find_checkout() -> Path | None:
    """Return the checkout that this package runs from, or None where it is installed."""
    folder = paths.PACKAGE.parent
    try:
        project = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))
    except (OSError, tomllib.TOMLDecodeError):
        return None
    return folder if project.get("project", {}).get("name") == NAME else None


def find_python(cluster: Cluster) -> str:
    """Return the version of a Python of the orchestrator that this package runs on, or "" where there is none."""
    assert cluster.orchestrator is not None  # noqa: S101 - the cluster is live
    return cluster.orchestrator.run(write_search(), check=False).stdout.strip().rpartition("\n")[2]


def write_search() -> str:
    """Write the command that prints the first such version; looks where the installing role does."""
    tests = []
    for version in PYTHONS:
        folders = " ".join(f"{place.replace('V', version)}/python{version}" for place in _PLACES)
        tests.append(
            f"command -v python{version} >/dev/null && echo {version} && exit;"
            f" for one in {folders}; do test -x $one && echo {version} && exit; done"
        )
    return f"bash -lc {shlex.quote('; '.join(tests))}"


def _send(cluster: Cluster) -> str:
    """Return the requirement that stands for this package, its wheel sent where it is a checkout's."""
    checkout = find_checkout()
    if checkout is None:
        return f"{NAME}=={__version__}"
    orchestrator = cluster.orchestrator
    assert orchestrator is not None  # noqa: S101 - the cluster is live
    wheel = build_wheel(checkout)
    orchestrator.create_dirs([_FOLDER])
    orchestrator.send(wheel.path, f"{_FOLDER}/{wheel.path.name}")
    return f"{NAME} @ file://{orchestrator.get_home_path()}/{_FOLDER}/{wheel.path.name}"
