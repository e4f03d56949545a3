"""The machine that the lab runs on: its commands, its packages, and the calling user."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from flambe_ansible.errors import LabError

# The commands that the lab runs, and the Debian or Ubuntu package of each.
REQUIRED_PACKAGES: Mapping[str, str] = {
    "debootstrap": "debootstrap",
    "systemd-nspawn": "systemd-container",
    "ip": "iproute2",
    "iptables": "iptables",
    "iptables-save": "iptables",
    "nft": "nftables",
    "rsync": "rsync",  # for images of running hosts, and for launching
    "ssh-keygen": "openssh-client",
    "ssh-keyscan": "openssh-client",
    "unshare": "util-linux",
    "mount": "mount",
    "sysctl": "procps",
}

_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True)
class Person:
    """The user that the lab is for: the one who called sudo, or else the current user."""

    uid: int
    gid: int
    home: Path


def caller() -> Person:
    """Return the calling user; under sudo, the user who called it."""
    uid = int(os.environ.get("SUDO_UID") or os.getuid())
    try:
        entry = pwd.getpwuid(uid)
    except KeyError:
        return Person(uid, int(os.environ.get("SUDO_GID") or os.getgid()), Path("/nonexistent"))
    return Person(uid, entry.pw_gid, Path(entry.pw_dir))


def run(*argv: str | Path, text: str | None = None, check: bool = True) -> str:
    """Run a command with ``text`` as its input, and return its output; with ``check``, a failure is a LabError."""
    command = [str(word) for word in argv]
    try:
        done = subprocess.run(command, input=text, capture_output=True, text=True, env=environment(), check=False)
    except FileNotFoundError as error:
        raise missing([command[0]]) from error
    if check and done.returncode:
        output = (done.stderr or done.stdout).strip().splitlines()
        raise LabError(f"{' '.join(command)} failed ({done.returncode}): {' | '.join(output[-3:])}")
    return done.stdout


def start_detached(
    command: Sequence[str], *, unit: str, log: Path, properties: Sequence[str] = (), variables: Mapping[str, str] = {}
) -> subprocess.Popen[bytes] | None:
    """Start a command that outlives this process: as a unit of systemd, or else as a child with its own session."""
    if has_systemd():
        run("systemctl", "reset-failed", unit, check=False)
        options = [f"--property=Standard{name}=append:{log}" for name in ("Output", "Error")]
        options += [f"--property={text}" for text in properties]
        options += [f"--setenv={key}={value}" for key, value in variables.items()]
        run("systemd-run", "--quiet", "--collect", f"--unit={unit}", *options, *command)
        return None
    # Settings of AWS and moto would redirect the daemon's own calls.
    kept = {key: value for key, value in environment().items() if not key.startswith(("AWS_", "MOTO_"))}
    with log.open("ab") as stream:
        return subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=stream, stderr=stream, env={**kept, **variables}, cwd="/",
            start_new_session=True,
        )  # fmt: skip


def environment() -> dict[str, str]:
    """Return the environment for commands: the sbin folders are on the PATH, and output is in English."""
    path = os.environ.get("PATH", "")
    return {**os.environ, "PATH": f"{path}:{_PATH}" if path else _PATH, "LC_ALL": "C.UTF-8"}


def require_packages(needed: Mapping[str, str] = REQUIRED_PACKAGES) -> None:
    """Check that the commands are installed; the error's hint is the command that installs them."""
    absent = [name for name in needed if not shutil.which(name, path=environment()["PATH"])]
    if absent:
        raise missing(absent, needed)


def missing(names: Sequence[str], needed: Mapping[str, str] = REQUIRED_PACKAGES) -> LabError:
    """Return the error that names the packages to install."""
    packages = " ".join(sorted({needed.get(name, name) for name in names}))
    sudo = "" if os.geteuid() == 0 else "sudo "
    return LabError(f"the lab needs {', '.join(names)} on this machine", hint=f"{sudo}apt-get install -y {packages}")


def require_root(what: str) -> None:
    """Check that the current user is root, for a command such as ``lab up``; the error's hint is the command to run."""
    if os.geteuid() != 0:
        message = f"flambe-ans {what} creates hosts and networks, and must run as root"
        raise LabError(message, hint=f"sudo flambe-ans {what}")


def has_systemd() -> bool:
    """Return whether systemd is this machine's PID 1."""
    return Path("/run/systemd/system").is_dir()
