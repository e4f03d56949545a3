"""The processes of this host, read from /proc."""

from __future__ import annotations

import os
import time

PROC = "/proc"
_TICKS = os.sysconf("SC_CLK_TCK")  # a second


class Process:
    """A process: ``title`` (its command line), ``age`` in seconds, ``cpu`` (seconds, ended children included)."""

    def __init__(self, title, stat, now):
        self.title = title
        self.age = now - int(stat[19]) / _TICKS
        self.cpu = sum(map(int, stat[11:15])) / _TICKS


def read_all(proc=PROC):
    """Return all processes; those that end meanwhile are left out."""
    found, now = [], time.clock_gettime(time.CLOCK_BOOTTIME)
    for name in os.listdir(proc):
        if not name.isdigit():
            continue
        try:
            title, stat = _read(proc, name, "cmdline"), _read(proc, name, "stat")
        except (FileNotFoundError, ProcessLookupError):
            continue
        found.append(Process(title.replace("\0", " ").strip(), stat.rpartition(")")[2].split(), now))
    return found


def _read(proc, name, file):
    with open(os.path.join(proc, name, file), encoding="utf-8", errors="replace") as opened:
        return opened.read()
