"""Find the user's error in the output of a job, which Ray and flambe print long before the last line."""

from __future__ import annotations

import re

# Ray Tune prints the error of a trial on the driver as: ray.exceptions.RayTaskError(KeyError): ..., frames, the error.
_TRIAL = re.compile(r"ray\.exceptions\.RayTaskError\b")
_FRAME = re.compile(r'\s+File "(?:.*/(?:site|dist)-packages/)?(.+)", line (\d+), in (\S+)')
# flambe's own last line.
_STOPPED = re.compile(r"[\w.]*UnsuccessfulRunnableError: Stopping experiment at block '(.+?)' because")
_ERROR = re.compile(r"[\w.]*(Error|Exception|Interrupt)\b")


class Causes:
    """Read the output line by line; ``trial`` is the last error of a trial, with the place in the user's code."""

    def __init__(self):
        self.trial = ""
        self._frame = None
        self._inside = False

    def feed(self, lines):
        """Read more lines."""
        for line in lines:
            if _TRIAL.match(line):
                self._inside, self._frame = True, None
            elif self._inside:
                self._read(line)

    def explain(self, last):
        """Return the cause of a failure, from the last lines of the output; "" if they are empty."""
        errors = [line for line in last if _ERROR.match(line)]
        cause = (errors or last or [""])[-1].strip()
        stopped = _STOPPED.match(cause)
        return f"stage {stopped[1]} failed: {self.trial}" if stopped and self.trial else cause

    def _read(self, line):
        """Read a line of a trial's traceback."""
        frame = _FRAME.match(line)
        if frame:
            self._frame = frame
        elif line[:1] != " ":
            self._inside = False
            place = " ({}:{} in {})".format(*self._frame.groups()) if self._frame else ""
            self.trial = line + place
