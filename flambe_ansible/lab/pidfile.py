"""The file that names the process of a lab's daemon."""

from __future__ import annotations

import os
from pathlib import Path

from flambe_ansible.files import write_json
from flambe_ansible.lab import state

FILE = "daemon.json"


def write(folder: Path) -> None:
    """Write that this process serves the lab of a folder. Every user can read it."""
    pid = os.getpid()
    write_json(folder / FILE, {"pid": pid, "started": started(pid)}, mode=0o644)


def find(folder: Path) -> int | None:
    """Return the process id of a lab's daemon; None if it does not run."""
    document = state.read_json(folder / FILE)
    if document is None or started(document["pid"]) != document["started"]:
        return None
    return int(document["pid"])


def started(pid: int) -> str | None:
    """Return a process's start time in the kernel's ticks: it differs for a later process with the same number."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] == "Z" else fields[19]
