"""Progress events: plain data that the library passes to an ``Observer``. The command line renders them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum


class Status(StrEnum):
    """The status of a step on a host."""

    RUNNING = "running"
    OK = "ok"
    CHANGED = "changed"
    SKIPPED = "skipped"
    FAILED = "failed"


@dataclass(frozen=True, kw_only=True)
class StepEvent:
    """A step started or ended on a host.

    Attributes:
        host: The host's name.
        step: ``create``, ``boot``, ``connect``, the name of a role, or ``ray``.
        status: Its status.
        seconds: Its duration, if it has ended.
        detail: A short description of the result, or "".
    """

    host: str
    step: str
    status: Status
    seconds: float | None = None
    detail: str = ""


@dataclass(frozen=True, kw_only=True)
class Notice:
    """A message for the user."""

    message: str
    warning: bool = False


@dataclass(frozen=True, kw_only=True)
class Activity:
    """What a host does within its current step; repeated while it does the same.

    Attributes:
        host: The host's name.
        text: Such as ``downloading 412 of 900 MB``, or "" if this is unknown.
    """

    host: str
    text: str


Event = StepEvent | Notice | Activity
Observer = Callable[[Event], None]


def ignore(_event: Event) -> None:
    """Ignore the event."""


def only_notices(observer: Observer) -> Observer:
    """Return an observer that passes on notices alone."""
    return lambda event: observer(event) if isinstance(event, Notice) else None
