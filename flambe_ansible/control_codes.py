"""Control codes in text from hosts: a terminal would execute them.

A sequence can set the clipboard or the title, or make the terminal type an answer into the shell. Colours, and the
movements of the cursor that progress bars use, are harmless in the output of a job and have no place in a message.
"""

from __future__ import annotations

import re

_CSI = r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]"
_STRING = r"(?:\x1b[PX\]^_]|[\x90\x98\x9d-\x9f])[^\x07\x1b\x9c\n]*(?:\x07|\x1b\\|\x9c)"  # a title, a clipboard, a link
_SEQUENCE = re.compile(f"{_CSI}|{_STRING}|\x1b[ -/]*[0-~]")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_LEFT = re.compile(r"[\x00-\x06\x0b\x0c\x0e-\x1a\x1c-\x1f\x7f-\x9f]|\x1b(?!\[[0-?]*[A-HJKhlm])")
_HARMLESS = re.compile(r"\x1b\[(?:[0-9;:]*[A-HJKm]|\?25[hl])")
_UNFINISHED = re.compile(r"\x1b(?:\[[0-?]{0,32}[ -/]*|[PX\]^_][^\x07\x1b\n]{0,4096}\x1b?)?\Z")


def strip(text: str) -> str:
    """Remove all control codes but line breaks and tabs."""
    if text.isprintable():
        return text
    return _CONTROL.sub("", _SEQUENCE.sub("", text))


class OutputFilter:
    """Removes the control codes from a stream of text for a terminal, except colours and movements of the cursor."""

    def __init__(self) -> None:
        self._rest = ""

    def __call__(self, text: str, *, final: bool = False) -> str:
        """Return the next part without them; a sequence that is cut off waits for its end, unless this is ``final``."""
        text = self._rest + text
        unfinished = None if final else _UNFINISHED.search(text)
        self._rest = text[unfinished.start() :] if unfinished else ""
        text = text[: unfinished.start()] if unfinished else text
        kept = _SEQUENCE.sub(lambda found: found[0] if _HARMLESS.fullmatch(found[0]) else "", text)
        return _LEFT.sub("", kept)
