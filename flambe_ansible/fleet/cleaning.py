"""The program that removes what is a host's own before an image is made of it; it runs there as root, with Python 3.8+.

``launch/baking.py`` sends the text of this file over a connection. Afterwards nobody can log in any more: a host that
is made from the image gets its own keys, machine id and logins at its first boot.
"""

from __future__ import annotations

import contextlib
import glob
import os
import shutil
import stat
import subprocess
from pathlib import Path

# Files and folders of every user, below the home folder, as patterns. Setup commands that write them run again on new
# hosts.
OF_USERS = (
    ".*_history",  # of shells, Python and clients of databases
    ".ansible",
    ".aws",
    ".azure",
    ".bash_sessions",
    ".boto",
    ".cache",
    ".config/gcloud",
    ".config/gh",
    ".config/rclone",
    ".docker",
    ".git-credentials",
    ".gnupg",
    ".histfile",
    ".huggingface",
    ".kube",
    ".lesshst",
    ".local/share/fish/fish_history",
    ".local/state/flambe",
    ".netrc",
    ".pypirc",
    ".ray",
    ".s3cfg",
    ".ssh",
    ".sudo_as_admin_successful",
    ".viminfo",
    ".wget-hsts",
    ".zhistory",
    "ray_bootstrap_key.pem",
    "ray_bootstrap_key.pub",
    "secret.ini",
    "secrets.ini",
)
# Host keys, and what else identifies a host: states of systemd, cloud-init and DHCP.
OF_HOST = (
    "etc/docker/key.json",
    "etc/netplan/50-cloud-init.yaml",
    "etc/ssh/ssh_host_*",
    "var/crash/*",
    "var/lib/cloud/data",
    "var/lib/cloud/instance",
    "var/lib/cloud/instances",
    "var/lib/cloud/sem",
    "var/lib/dbus/machine-id",
    "var/lib/dhcp/*",
    "var/lib/docker/engine-id",
    "var/lib/systemd/credential.secret",
    "var/lib/systemd/random-seed",
    "var/log/journal/*",
)
# The units of the roles and of the launch guard; a launch sets up those of its cluster. The receipt is kept, which
# ``launch/baking.py`` writes for what stays.
OF_CLUSTER = (
    "etc/systemd/system/*.wants/flambe-*",
    "etc/systemd/system/flambe-*",
    "usr/local/sbin/flambe-launch-guard",
)
TEMPORARY = ("tmp", "var/tmp")
ROTATED = (".gz", ".old", ".xz", ".zst", *(f".{number}" for number in range(10)))
LOGGERS = ("rsyslog.service", "syslog.socket")


def clean(root: str = "/") -> None:
    """Remove everything of this list from the disk whose root folder this is."""
    top = Path(root)
    for pattern in (*OF_CLUSTER, *OF_HOST):
        _remove_matching(top, pattern)
    for home in _list_homes(top):
        for pattern in OF_USERS:
            _remove_matching(home, pattern)
    for name in TEMPORARY:
        for path in (top / name).glob("*"):
            if not path.name.startswith("systemd-private-"):
                _remove(path)
    for path in (top / "var/log").rglob("*"):
        _empty_log(path)
    machine_id = top / "etc/machine-id"
    if machine_id.exists():  # systemd writes a new one into the empty file
        machine_id.write_bytes(b"")


def stop_logging() -> None:
    """Let the loggers write nothing to the disk until the next boot."""
    for argv in (["systemctl", "stop", *LOGGERS, "flambe-*"], ["journalctl", "--relinquish-var"]):
        with contextlib.suppress(FileNotFoundError):
            subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, check=False)


def _list_homes(top: Path) -> list[Path]:
    """List the home folders of all users, those of services too, and of users who are not in /etc/passwd."""
    lines = (top / "etc/passwd").read_text(encoding="utf-8", errors="replace").splitlines()
    named = [top / fields[5].lstrip("/") for line in lines if len(fields := line.split(":")) == 7 and fields[5]]
    return list(dict.fromkeys([*named, *(top / "home").glob("*")]))


def _remove_matching(folder: Path, pattern: str) -> None:
    for found in glob.glob(f"{glob.escape(str(folder))}/{pattern}"):  # noqa: PTH207 - the pattern has several parts
        _remove(Path(found))


def _remove(path: Path) -> None:
    """Remove a file, a link or a folder; a missing one is ignored."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
        return
    with contextlib.suppress(FileNotFoundError):
        path.unlink()


def _empty_log(path: Path) -> None:
    """Empty a log; remove it if it is an older one."""
    try:
        is_file = stat.S_ISREG(os.lstat(path).st_mode)
    except FileNotFoundError:
        return
    if is_file and path.name.endswith(ROTATED):
        path.unlink()
    elif is_file:
        os.truncate(path, 0)
