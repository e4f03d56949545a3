"""What long work tells while it goes on: plain data, given to one function.

The library calls an ``Observer``; the command line draws what it hears.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum


class Status(StrEnum):
    """Where a step stands on a host."""

    RUNNING = "running"
    OK = "ok"
    CHANGED = "changed"
    SKIPPED = "skipped"
    FAILED = "failed"


@dataclass(frozen=True, kw_only=True)
class StepEvent:
    """A step began or ended on a host.

    Attributes:
        host: The host's name.
        step: ``create``, ``boot``, ``connect``, the name of a role, or ``ray``.
        status: Where it stands.
        seconds: How long it took, once it has ended.
        detail: What it did, a few words, or "".
    """

    host: str
    step: str
    status: Status
    seconds: float | None = None
    detail: str = ""


@dataclass(frozen=True, kw_only=True)
class Notice:
    """Something the user should read."""

    message: str
    warning: bool = False


Event = StepEvent | Notice
Observer = Callable[[Event], None]


def ignore(_event: Event) -> None:
    """Be the observer that hears nothing."""
