"""What a check found."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from flambe_ansible.errors import ClusterConfigurationError, Problem


class Level(StrEnum):
    """How a check ended; the later ones are worse."""

    OK = "ok"
    NOTE = "note"  # worth knowing, or not checked; a launch may succeed
    FAILED = "failed"


@dataclass(frozen=True, kw_only=True)
class Finding:
    """The result of one check.

    Attributes:
        check: What was checked, in one or two words.
        fact: What is the case, if there is nothing else to report.
        problems: What prevents a launch.
        notes: What the user should know.
        remedy: What to do about the notes, or "".
        exit_code: The exit code of a launch that fails for these problems.
    """

    check: str
    fact: str = ""
    problems: tuple[Problem, ...] = ()
    notes: tuple[str, ...] = ()
    remedy: str = ""
    exit_code: int = ClusterConfigurationError.exit_code

    @property
    def level(self) -> Level:
        """How the check ended."""
        if self.problems:
            return Level.FAILED
        return Level.NOTE if self.notes else Level.OK


def make_problem(field: str, message: str, *, expected: str = "", suggestion: str = "") -> Problem:
    """Make a problem of one setting ("" for none); the caller may add its file, line and column."""
    return Problem(file="", line=0, column=0, message=message, expected=expected, suggestion=suggestion, field=field)


def note_denied(check: str, operation: str) -> Finding:
    """Make the finding of a check for which an optional permission is missing."""
    note = f"not checked: these credentials may not call {operation}"
    return Finding(check=check, notes=(note,), remedy="allow it (docs/aws.md)")
