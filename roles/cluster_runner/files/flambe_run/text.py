"""Convert output to plain lines, without colours and progress bars that overwrite themselves."""

from __future__ import annotations

import re

_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|[\x00-\x08\x0b\x0c\x0e-\x1f]")
_LONGEST = 8192


class Lines:
    """Split bytes that arrive in pieces into lines."""

    def __init__(self):
        self._rest = b""

    def feed(self, chunk):
        """Add a piece; return the lines that it completes."""
        *lines, self._rest = re.split(rb"[\r\n]+", self._rest + chunk)
        if len(self._rest) > _LONGEST:
            lines, self._rest = [*lines, self._rest], b""
        return [line for line in map(clean, lines) if line]

    @property
    def has_rest(self):
        """Whether there is an incomplete last line."""
        return bool(clean(self._rest))

    def end(self):
        """Return the incomplete last line."""
        left, self._rest = clean(self._rest), b""
        return [left] if left else []


def clean(line):
    """Remove terminal control sequences from a line."""
    return _ESCAPES.sub("", line.decode("utf-8", "replace")).rstrip()
