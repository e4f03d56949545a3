"""This project's own package on the orchestrator, in exactly the version that runs here; it runs custom runnables."""

from __future__ import annotations

import shlex
import tomllib
from pathlib import Path
from typing import Any

from flambe_ansible import paths
from flambe_ansible.fleet.instance import Instance

NAME = "flambe-ansible"
ROOT = "/opt/flambe-ansible"
MODULE = "flambe_ansible"
ARGUMENTS = ("run", "--installed")
PROGRAM = (f"{ROOT}/venv/bin/flambe-ans", *ARGUMENTS)
# What it requires to run a custom runnable; Ansible and boto3 are not needed for that.
REQUIRED = (
    "click>=8.1",
    "packaging>=23",
    "pathspec>=0.12",
    "platformdirs>=4",
    "pyyaml>=6.0",
    "rich>=13.7",
    "rich-click>=1.8",
)
PYTHONS = ("3.12", "3.11", "3.13", "3.14")  # supported by this package, in order of preference
FOLDER = ".cache/flambe-ansible"  # for wheels, below the home folder
_PLACES = (f"{ROOT}/python/cpython-V*/bin", "/opt/*/bin", "/opt/*/*/bin", "~/.pyenv/versions/V*/bin")


def variables(orchestrator: Instance) -> dict[str, Any]:
    """Send this package if needed, and return the variables of ``runnable.yml`` for its runtime."""
    return {
        "runnable_root": ROOT,
        "runnable_requirements": [f"{NAME} @ file://{send(orchestrator)}"],
        "runnable_python_version": find_python(orchestrator) or PYTHONS[0],
    }


def find_checkout() -> Path | None:
    """Return the checkout that this package runs from; None if it is installed."""
    folder = paths.PACKAGE.parent
    try:
        project = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))
    except (OSError, tomllib.TOMLDecodeError):
        return None
    return folder if project.get("project", {}).get("name") == NAME else None


def find_python(orchestrator: Instance) -> str:
    """Return the version of a suitable Python on the orchestrator, or ""."""
    return orchestrator.ask(f"{write_search()}; :").strip().rpartition("\n")[2]


def write_search() -> str:
    """Return the command that prints the first suitable version; it searches the same folders as role ``flambe``."""
    tests = []
    for version in PYTHONS:
        folders = " ".join(f"{place.replace('V', version)}/python{version}" for place in _PLACES)
        tests.append(
            f"command -v python{version} >/dev/null && echo {version} && exit;"
            f" for one in {folders}; do test -x $one && echo {version} && exit; done"
        )
    return f"bash -lc {shlex.quote('; '.join(tests))}"


def send(orchestrator: Instance) -> str:
    """Send the wheel of this package, built from its checkout or from its installed files; return its path there."""
    from flambe_ansible.sources import build_wheel, rebuild_wheel

    checkout = find_checkout()
    wheel = build_wheel(checkout) if checkout else rebuild_wheel(NAME)
    orchestrator.create_dirs([FOLDER])
    orchestrator.send(wheel.path, f"{FOLDER}/{wheel.path.name}")
    return f"{orchestrator.get_home_path()}/{FOLDER}/{wheel.path.name}"
