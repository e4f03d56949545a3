"""Messages for paths that do not exist."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from pathlib import Path

from flambe_ansible.validation.schema import Flaw, show


def describe_missing(path: Path, *, kind: str, may_be: Callable[[Path], bool]) -> Flaw:
    """Describe a missing file or folder, and suggest a similar name.

    Args:
        path: The path, with ``~`` expanded if the user exists.
        kind: What is expected: ``file`` or ``folder``.
        may_be: Returns whether a neighbour may be suggested.
    """
    message = f"is {show(str(path))}, but this {kind} does not exist"
    if str(path).startswith("~"):
        return Flaw(message=f"is {show(str(path))}, but this user does not exist")
    if "$" in str(path):
        return Flaw(message=message, expected="a path without variables (only ~ is expanded)")
    try:
        neighbours = [one.name for one in path.parent.iterdir() if may_be(one)]
    except OSError:
        return Flaw(message=message)
    close = difflib.get_close_matches(path.name, neighbours, n=1)
    return Flaw(message=message, suggestion=str(path.parent / close[0]) if close else "")
