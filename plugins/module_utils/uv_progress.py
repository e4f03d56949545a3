"""The progress of an installation, read from the lines that uv prints without a terminal."""

from __future__ import annotations

import re

from ansible_collections.flambe.cluster.plugins.module_utils import account as accounts
from ansible_collections.flambe.cluster.plugins.module_utils import files, progress

_UNITS = {"B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}
_DOWNLOADING = re.compile(r"\s*Downloading (\S+).* \(([\d.]+)([KMG]iB|B)\)$")
_EVENT = re.compile(r"\s+(Downloaded|Building|Built) ([\w.+-]+?)(?:==| |$)")
_STAGE = re.compile(r"(Resolved|Prepared|Installed) (\d+) packages?\b")


class UvProgress:
    """Reads the lines of one command of uv, and reports what it does; ``first`` is what it does until it prints.

    Only names, sizes and counts are used: other parts of the lines may contain the login of an index.
    """

    def __init__(self, first, received=None):
        self._first = first
        self._received = received or read_received
        self._sizes = {}  # bytes, by name, of the large downloads
        self._downloaded = set()
        self._building = []
        self._stage, self._packages = "", ""
        self._before = 0  # bytes that the host had received when the downloads began

    def __call__(self, lines):
        """Read new lines, and report."""
        for line in lines:
            self._read(line)
        progress.report(self.describe())

    def _read(self, line):
        stage, size, event = (pattern.match(line) for pattern in (_STAGE, _DOWNLOADING, _EVENT))
        if stage:
            self._stage, self._packages = stage.group(1), accounts.count(int(stage.group(2)), "package")
        elif size:
            self._before = self._before or self._received()
            self._sizes[size.group(1)] = float(size.group(2)) * _UNITS[size.group(3)]
        elif event and event.group(1) == "Building":
            self._building.append(event.group(2))
        elif event and event.group(1) == "Downloaded":
            self._downloaded.add(event.group(2))
        elif event and event.group(2) in self._building:
            self._building.remove(event.group(2))

    def describe(self):
        """Return what uv does, such as ``downloading 412 of 900 MB``."""
        if self._stage in ("Prepared", "Installed"):
            return "installing the packages"  # those of its cache, too, which it has not counted
        if set(self._sizes) - self._downloaded:
            return "downloading " + progress.megabytes(self._count_downloaded(), sum(self._sizes.values()))
        if self._building:
            return "building {}".format(", ".join(self._building))
        return f"preparing {self._packages}" if self._stage else self._first

    def _count_downloaded(self):
        """Return the size of the finished downloads, or what the host received since they began, if that is more."""
        finished = sum(size for name, size in self._sizes.items() if name in self._downloaded)
        return max(finished, min(self._received() - self._before, sum(self._sizes.values())))


def read_received(proc="/proc/net"):
    """Return the bytes that this host has received on the interface of its default route; 0 if it has none."""
    routes = [line.split() for line in (files.read(f"{proc}/route") or "").splitlines()]
    default = next((fields[0] for fields in routes if len(fields) > 7 and fields[1] == fields[7] == "00000000"), None)
    for line in (files.read(f"{proc}/dev") or "").splitlines():
        name, _colon, numbers = line.partition(":")
        if name.strip() == default:
            return int(numbers.split()[0])
    return 0
