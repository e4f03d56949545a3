"""What a command prints, as lines for people: no colours, no progress bars that overwrite themselves."""

from __future__ import annotations

import re

_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|[\x00-\x08\x0b\x0c\x0e-\x1f]")
_LONGEST = 8192


class Lines:
    """Makes lines of bytes that come in pieces."""

    def __init__(self):
        self._rest = b""

    def feed(self, chunk):
        """Take in a piece, and return the lines that it completes."""
        *lines, self._rest = re.split(rb"[\r\n]+", self._rest + chunk)
        if len(self._rest) > _LONGEST:
            lines, self._rest = [*lines, self._rest], b""
        return [line for line in map(clean, lines) if line]

    def end(self):
        """Return what is left."""
        left, self._rest = clean(self._rest), b""
        return [left] if left else []


def clean(line):
    """Write one line without what moves a terminal's cursor or colours it."""
    return _ESCAPES.sub("", line.decode("utf-8", "replace")).rstrip()
