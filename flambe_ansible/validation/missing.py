"""Checks of paths, and messages for those that do not exist."""

from __future__ import annotations

import difflib
import os
from collections.abc import Callable
from pathlib import Path

from flambe_ansible.validation.schema import Flaw, show


def check_path(value: str | os.PathLike[str], find_flaw: Callable[[Path], Flaw | None]) -> list[Flaw]:
    """Check a path's text, then the path with ``~`` expanded; that it cannot be read is a flaw."""
    text = os.fspath(value)
    if not text.strip():
        return [Flaw(message="is empty")]
    if "\0" in text:
        return [Flaw(message="contains a NUL character")]
    path = Path(os.path.expanduser(text))  # noqa: PTH111 - Path.expanduser raises for unknown users
    try:
        flaw = find_flaw(path)
    except OSError as error:
        flaw = Flaw(message=f"cannot be read: {path}: {error.strerror or error}")
    return [flaw] if flaw else []


def describe_missing(path: Path, *, kind: str, may_be: Callable[[Path], bool]) -> Flaw:
    """Describe a missing file or folder (``kind``), and suggest a similar name for which ``may_be`` is true."""
    message = f"is {show(str(path))}, but this {kind} does not exist"
    if str(path).startswith("~"):
        return Flaw(message=f"is {show(str(path))}, but this user does not exist")
    if "$" in str(path):
        return Flaw(message=message, expected="a path without variables (only ~ is expanded)")
    return Flaw(message=message, suggestion=find_neighbour(path, may_be))


def find_neighbour(path: Path, may_be: Callable[[Path], bool]) -> str:
    """Find a file or folder with a similar name in the same folder."""
    try:
        names = [one.name for one in path.parent.iterdir() if may_be(one)]
    except OSError:
        return ""
    close = difflib.get_close_matches(path.name, names, n=1)
    return str(path.parent / close[0]) if close else ""
