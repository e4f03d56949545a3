"""What is said of a path where nothing is."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from pathlib import Path

from flambe_ansible.validation.schema import Flaw, show


def describe_missing(path: Path, *, kind: str, may_be: Callable[[Path], bool]) -> Flaw:
    """Say that there is no such file or folder, and what was probably meant.

    Args:
        path: The path, ``~`` expanded where there is such a user.
        kind: What should be there: ``file`` or ``folder``.
        may_be: Whether something beside it may have been meant.
    """
    message = f"is {show(str(path))}, and there is no such {kind}"
    if str(path).startswith("~"):
        return Flaw(message=f"is {show(str(path))}, and there is no such user")
    if "$" in str(path):
        return Flaw(message=message, expected="a path without variables: they are not expanded, only ~ is")
    try:
        neighbours = [one.name for one in path.parent.iterdir() if may_be(one)]
    except OSError:
        return Flaw(message=message)
    close = difflib.get_close_matches(path.name, neighbours, n=1)
    return Flaw(message=message, suggestion=str(path.parent / close[0]) if close else "")
