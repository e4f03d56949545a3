"""The machine under the lab: its commands, who calls, and what is installed."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from flambe_ansible.errors import LabError

# What the lab calls on the machine, and the Debian or Ubuntu package that has it.
REQUIRED_PACKAGES: Mapping[str, str] = {
    "debootstrap": "debootstrap",
    "systemd-nspawn": "systemd-container",
    "ip": "iproute2",
    "iptables": "iptables",
    "iptables-save": "iptables",
    "nft": "nftables",
    "rsync": "rsync",  # for launching: files travel by rsync
    "ssh-keygen": "openssh-client",
    "ssh-keyscan": "openssh-client",
    "unshare": "util-linux",
    "mount": "mount",
    "sysctl": "procps",
}

_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True)
class Person:
    """Who the lab is for: the user behind sudo, else the one who runs it.

    Attributes:
        uid: The user's id.
        gid: The id of the user's own group.
        home: The user's home folder.
    """

    uid: int
    gid: int
    home: Path


def caller() -> Person:
    """Find the person who asked, through sudo too."""
    uid = int(os.environ.get("SUDO_UID") or os.getuid())
    try:
        entry = pwd.getpwuid(uid)
    except KeyError:
        return Person(uid, int(os.environ.get("SUDO_GID") or os.getgid()), Path("/nonexistent"))
    return Person(uid, entry.pw_gid, Path(entry.pw_dir))


def run(*argv: str | Path, text: str | None = None, check: bool = True) -> str:
    """Run a command of the machine and return what it printed.

    Args:
        argv: The command and its arguments.
        text: What it reads on stdin.
        check: Whether a failure is an error.

    Raises:
        LabError: It failed, or it is not installed.
    """
    command = [str(word) for word in argv]
    try:
        done = subprocess.run(command, input=text, capture_output=True, text=True, env=environment(), check=False)
    except FileNotFoundError as error:
        raise missing([command[0]]) from error
    if check and done.returncode:
        output = (done.stderr or done.stdout).strip().splitlines()
        raise LabError(f"{' '.join(command)} failed ({done.returncode}): {' | '.join(output[-3:])}")
    return done.stdout


def environment() -> dict[str, str]:
    """Give the environment for the machine's commands: administrators' folders on the PATH, untranslated output."""
    path = os.environ.get("PATH", "")
    return {**os.environ, "PATH": f"{path}:{_PATH}" if path else _PATH, "LC_ALL": "C.UTF-8"}


def require_packages(needed: Mapping[str, str] = REQUIRED_PACKAGES) -> None:
    """Check that the machine has what the lab calls.

    Raises:
        LabError: Something is missing; the hint is the line that installs it.
    """
    absent = [name for name in needed if not shutil.which(name, path=environment()["PATH"])]
    if absent:
        raise missing(absent, needed)


def missing(names: Sequence[str], needed: Mapping[str, str] = REQUIRED_PACKAGES) -> LabError:
    """Make the error that says which packages to install."""
    packages = " ".join(sorted({needed.get(name, name) for name in names}))
    sudo = "" if os.geteuid() == 0 else "sudo "
    return LabError(f"the lab needs {', '.join(names)} on this machine", hint=f"{sudo}apt-get install -y {packages}")


def require_root(what: str) -> None:
    """Check that root runs this.

    Args:
        what: The words of the command, such as ``lab up``.

    Raises:
        LabError: Somebody else does; the hint is the line to run.
    """
    if os.geteuid() != 0:
        raise LabError(f"flambe-ans {what} makes hosts and networks, which needs root", hint=f"sudo flambe-ans {what}")


def has_systemd() -> bool:
    """Tell whether systemd is this machine's PID 1."""
    return Path("/run/systemd/system").is_dir()
