"""Show the progress of a launch: a live table on a terminal, else lines for finished and for long steps."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Self

from rich.live import Live

from flambe_ansible.cli.output import Output
from flambe_ansible.cli.render.board import Board
from flambe_ansible.cli.render.words import MANY_HOSTS, format_seconds
from flambe_ansible.events import Activity, Event, Notice, Status, StepEvent

ACTIVITY_SECONDS = 10.0  # between two lines about what a host does, and about the same step on many hosts
MOST_DETAILS = 4  # of a step on many hosts


@dataclass(frozen=True)
class _End:
    """The end of a step on a host, in seconds."""

    host: str
    step: str
    status: Status
    detail: str
    seconds: float


class Progress:
    """An observer that prints; ``hosts`` are the names of the hosts that take part, in order."""

    def __init__(self, output: Output, *, cluster: str, hosts: Sequence[str] = ()) -> None:
        self.board = Board(cluster=cluster, hosts=hosts)
        self._output = output
        self._lock = threading.Lock()
        self._live: Live | None = None
        self._activities: dict[str, tuple[str, float]] = {}  # the last line about what a host does, and its time
        self._ended: dict[str, list[_End]] = {}  # of steps in a large cluster, since the last lines about them
        self._printed = 0.0  # when these were printed

    def __enter__(self) -> Self:
        if self._output.is_live:
            self._live = Live(
                console=self._output.console,
                get_renderable=lambda: self.board.render(self._output.console.height),
                refresh_per_second=4,
            )
            self._live.start()
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc_value: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.board.succeeded = exc_type is None
        with self._lock:
            self._say_ended()
        if self._live:
            self._live.stop()
            self._live = None

    def __call__(self, event: Event) -> None:
        """Show an event."""
        if isinstance(event, Notice):
            with self._lock:
                self._output.show_notice(event, console=self._output.console)  # the table's console
            return
        if isinstance(event, Activity):
            self._show_activity(event)
            return
        cell = self.board.add(event)
        if self._live is None and event.status not in (Status.RUNNING, Status.SKIPPED):
            with self._lock:
                self._show_end(event, cell.seconds or 0.0)

    @property
    def _is_large(self) -> bool:
        return len(self.board.hosts) > MANY_HOSTS

    def _show_end(self, event: StepEvent, seconds: float) -> None:
        """Print that a step has ended; in a large cluster, once for the hosts on which it ended in the same way."""
        end = _End(event.host, event.step, event.status, " ".join(event.detail.split()), seconds)
        if not self._is_large or event.status is Status.FAILED:
            self._say_end(event.host, end)
            return
        ends = self._ended.setdefault(event.step, [])
        ends.append(end)
        if len(ends) >= len(self.board.hosts):
            self._say_ends(self._ended.pop(event.step))
        elif self.board.elapsed - self._printed >= ACTIVITY_SECONDS:
            self._say_ended()

    def _say_ended(self) -> None:
        """Print what has not been printed of the steps that ended."""
        for ends in self._ended.values():
            self._say_ends(ends)
        self._ended.clear()

    def _say_ends(self, ends: Sequence[_End]) -> None:
        """Print how a step ended on hosts; without details, such as addresses, if most differ."""
        kinds = Counter(status for status, _ in {(one.status, one.detail) for one in ends})
        groups: dict[tuple[Status, str], list[_End]] = {}
        for one in ends:
            detail = one.detail if kinds[one.status] <= MOST_DETAILS else ""
            groups.setdefault((one.status, detail), []).append(replace(one, detail=detail))
        for same in groups.values():
            who = same[0].host if len(same) == 1 else f"{len(same)} of {len(self.board.hosts)} hosts"
            self._say_end(who, max(same, key=lambda one: one.seconds))
        self._printed = self.board.elapsed

    def _say_end(self, who: str, end: _End) -> None:
        took = format_seconds(end.seconds)
        self._say(f"{who}: {end.step} {end.status} in {took}" + (f": {end.detail}" if end.detail else ""))

    def _show_activity(self, event: Activity) -> None:
        """Show what a host does; without a table a line is printed if it changed, and not too often.

        In a large cluster, that of one host stands for all.
        """
        step, now = self.board.add_activity(event), self.board.elapsed
        if self._live or not step or not event.text:
            return
        line = f"{event.host}: {step}: {event.text}"
        whose = "" if self._is_large else event.host
        with self._lock:
            before, printed = self._activities.get(whose, ("", -ACTIVITY_SECONDS))
            if line != before and now - printed >= ACTIVITY_SECONDS:
                self._activities[whose] = line, now
                self._say(line)

    def _say(self, line: str) -> None:
        self._output.say(f"[{format_seconds(self.board.elapsed):>5}] {line}")
        self._output.console.file.flush()
