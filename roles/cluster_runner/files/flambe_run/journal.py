"""Print lines for the journal, which accepts only a limited number of lines per second."""

from __future__ import annotations

import sys
import time

# Below journald's default limit of 10,000 lines in 30 s. A full socket of a slow journald would block the job.
_PER_SECOND = 200


class Journal:
    """Print at most so many lines per second on stdout; ``log`` has all of them."""

    def __init__(self, log, clock=time.monotonic):
        self._log = log
        self._clock = clock
        self._second = 0
        self._left = 0
        self._skipped = 0

    def write(self, lines):
        """Print lines, or count those above the limit."""
        second = int(self._clock())
        if second != self._second:
            self.report()
            self._second, self._left = second, _PER_SECOND
        shown = lines[: self._left]
        self._left -= len(shown)
        self._skipped += len(lines) - len(shown)
        if shown:
            self.print(*shown)

    def report(self):
        """Print how many lines were left out since the last report, if any."""
        if self._skipped:
            self.print(f"[{self._skipped} more lines in {self._log}]")
            self._skipped = 0

    def print(self, *lines):
        """Print lines in any case."""
        sys.stdout.write("".join(f"{line}\n" for line in lines))
        sys.stdout.flush()
