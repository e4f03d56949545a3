"""The control groups of hosts on machines without systemd: one group in each hierarchy.

They contain all processes of a host, so that all of them can be ended.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path

_TOP = "flambe-lab"


def hierarchies(mountinfo: str) -> list[Path]:
    """List the mount points of control groups in the text of a mountinfo file."""
    lines = (line.partition(" - ") for line in mountinfo.splitlines())
    found = [Path(left.split()[4]) for left, _, right in lines if right.startswith(("cgroup ", "cgroup2 "))]
    return list(dict.fromkeys(found))


def make(lab: str, host: str) -> list[Path]:
    """Create a host's groups, one in each hierarchy."""
    made = []
    for top in _mounted():
        group = top
        for part in (_TOP, lab, host):
            group = group / part
            group.mkdir(exist_ok=True)
            _inherit_cpus(group)
        made.append(group)
    return made


def processes(lab: str, host: str) -> set[int]:
    """List the processes of a host."""
    return {pid for group in _groups(lab, host) for pid in _members(group)}


def is_populated(lab: str, host: str) -> bool:
    """Return whether a host has processes; this reads as little as it can, since the daemon calls it often."""
    return any(True for top in _mounted() for _ in _members(top / _TOP / lab / host))


def is_unit_populated(unit: str) -> bool:
    """Return whether a unit of the machine's own systemd has processes."""
    return any(True for top in _mounted() for _ in _members(top / "system.slice" / unit))


def kill(lab: str, host: str, *, timeout: float = 20.0) -> None:
    """Kill all processes of a host and remove its groups; TimeoutError if one is left after ``timeout`` seconds."""
    deadline = time.monotonic() + timeout
    while alive := processes(lab, host):
        if time.monotonic() > deadline:
            raise TimeoutError(f"processes of host {host} did not end: {sorted(alive)}")
        for pid in alive:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.02)
    for group in _groups(lab, host):
        _remove_tree(group, deadline)


def remove_lab(lab: str) -> None:
    """End all processes in a lab's groups and remove the groups, and the labs' common group if it is empty."""
    for top in _mounted():
        folder = top / _TOP / lab
        if folder.is_dir():
            for entry in folder.iterdir():
                if entry.is_dir():
                    kill(lab, entry.name)
            _remove_tree(folder, time.monotonic() + 5)
        with suppress(OSError):
            (top / _TOP).rmdir()


def cpu_seconds(lab: str, host: str) -> float | None:
    """Read how many seconds of CPU a host has used; None if the kernel does not count them."""
    for group in _groups(lab, host):
        if (path := group / "cpuacct.usage").exists():
            return int(path.read_text()) / 1e9
        if (path := group / "cpu.stat").exists() and "usage_usec" in (text := path.read_text()):
            fields = dict(line.split() for line in text.splitlines())
            return int(fields["usage_usec"]) / 1e6
    return None


@cache
def _mounted() -> list[Path]:
    return hierarchies(Path("/proc/self/mountinfo").read_text())


def _groups(lab: str, host: str) -> list[Path]:
    """List the groups of a host that exist."""
    return [path for top in _mounted() if (path := top / _TOP / lab / host).is_dir()]


def _members(group: Path) -> Iterator[int]:
    """List the processes of a group and all below it."""
    for folder, _, _ in os.walk(group):
        with suppress(OSError):
            for line in Path(folder, "cgroup.procs").read_text().split():
                if int(line):
                    yield int(line)


def _remove_tree(group: Path, deadline: float) -> None:
    """Remove a group and those below it; a group stays busy for a moment after its last process ended."""
    while True:
        for folder, _, _ in os.walk(group, topdown=False):
            with suppress(OSError):
                Path(folder).rmdir()
        if not group.is_dir() or time.monotonic() > deadline:
            return
        time.sleep(0.02)


def _inherit_cpus(group: Path) -> None:
    """Give a group of the old cpuset hierarchy its parent's CPUs; it accepts no process without them."""
    for name in ("cpuset.cpus", "cpuset.mems"):
        path = group / name
        if path.exists() and os.access(path, os.W_OK) and not path.read_text().strip():
            with suppress(OSError):
                path.write_text((group.parent / name).read_text())
