"""What a runnable's file names: extensions and resources, and where it names them."""

from __future__ import annotations

from dataclasses import dataclass, field

from flambe_ansible.errors import Problem


@dataclass(frozen=True)
class Place:
    """A place in a file; lines and columns count from 1, 0 where there is none."""

    file: str
    line: int = 0
    column: int = 0

    def problem(self, message: str, expected: str = "", suggestion: str = "") -> Problem:
        """Make a problem of this place."""
        return Problem(
            file=self.file,
            line=self.line,
            column=self.column,
            message=message,
            expected=expected,
            suggestion=suggestion,
        )


@dataclass(frozen=True, kw_only=True)
class Declared:
    """An extension or a resource as the file has it.

    Attributes:
        name: The extension's module name, or the resource's name.
        value: The path, URL or requirement, as written; has no repr, as a URL may hold a password.
        place: Where the value stands.
        cluster: Whether a resource is already on the hosts (``!cluster``).
    """

    name: str
    value: str = field(repr=False)
    place: Place
    cluster: bool = False
