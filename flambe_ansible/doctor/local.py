"""Checks of this machine: the programs that a launch runs, and the user's key."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

from flambe_ansible.findings import Finding, make_problem
from flambe_ansible.validation.keyfile import private_key

TIMEOUT = 10.0  # seconds for a program to print its version

# The programs, the command that prints the version of each, and the package that has it.
_PROGRAMS = (
    ("ssh", ("ssh", "-V"), "openssh-client"),
    ("ssh-keygen", (), "openssh-client"),
    ("rsync", ("rsync", "--version"), "rsync"),
)


def examine_tools() -> list[Finding]:
    """Check the programs that a launch runs on this machine."""
    return [*(_examine_program(*program) for program in _PROGRAMS), _examine_ansible()]


def examine_key(path: str) -> Finding:
    """Check that ssh can use a private key."""
    flaws = private_key(path)
    problems = [make_problem("key", f"key {flaw.message}", expected=flaw.expected) for flaw in flaws]
    return Finding(check="private key", fact=path, problems=tuple(problems))


def _examine_program(name: str, command: Sequence[str], package: str) -> Finding:
    path = shutil.which(name)
    if path is None:
        expected = f"the package {package}: sudo apt-get install -y {package}"
        return Finding(check=name, problems=(make_problem("", f"{name} is not installed", expected=expected),))
    return Finding(check=name, fact=_read_version(command) or path)


def _read_version(command: Sequence[str]) -> str:
    """Return the first line that a command prints; "" if there is none."""
    if not command:
        return ""
    try:
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=TIMEOUT, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    lines = f"{done.stdout}{done.stderr}".strip().splitlines()
    return " ".join(lines[0].split()) if lines else ""


def _examine_ansible() -> Finding:
    """Check that Ansible can be started by this Python."""
    check = "ansible"
    folders = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    try:
        version = metadata.version("ansible-core")
    except metadata.PackageNotFoundError:
        version = ""
    if not version or not shutil.which("ansible-playbook", path=folders):
        expected = f"{sys.executable} -m pip install --force-reinstall ansible-core"
        message = f"ansible-core is not installed for {sys.executable}"
        return Finding(check=check, problems=(make_problem("", message, expected=expected),))
    return Finding(check=check, fact=f"ansible-core {version}, Python {platform.python_version()}")
