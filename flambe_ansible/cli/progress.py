"""Show the progress of a launch: a live table on a terminal, else lines for finished and for long steps."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from rich.live import Live

from flambe_ansible.cli.output import Output
from flambe_ansible.cli.render.board import Board
from flambe_ansible.cli.render.words import MANY_HOSTS, format_seconds
from flambe_ansible.events import Activity, Event, Notice, Status, StepEvent

ACTIVITY_SECONDS = 10.0  # between two lines about what a host does, and about the same step on many hosts


class Progress:
    """An observer that prints; ``hosts`` are the names of the hosts that take part, in order."""

    def __init__(self, output: Output, *, cluster: str, hosts: Sequence[str] = ()) -> None:
        self.board = Board(cluster=cluster, hosts=hosts)
        self._output = output
        self._lock = threading.Lock()
        self._live: Live | None = None
        self._activities: dict[str, tuple[str, float]] = {}  # the last line about what a host does, and its time
        self._ended: dict[tuple[str, Status, str], list[float]] = {}  # steps on many hosts: the seconds of each host
        self._printed = 0.0  # when lines about them were printed

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
        key = (event.step, event.status, " ".join(event.detail.split()))
        if not self._is_large or event.status is Status.FAILED:
            self._say_end(event.host, key, seconds)
            return
        if self._ended and not any(one[0] == event.step for one in self._ended):
            self._say_ended()
        self._ended.setdefault(key, []).append(seconds)
        ended = sum(len(one) for one in self._ended.values())
        if ended >= len(self.board.hosts) or self.board.elapsed - self._printed >= ACTIVITY_SECONDS:
            self._say_ended()

    def _say_ended(self) -> None:
        """Print the steps that ended on many hosts since the last line."""
        for key, seconds in self._ended.items():
            self._say_end(f"{len(seconds)} of {len(self.board.hosts)} hosts", key, max(seconds))
        self._ended.clear()
        self._printed = self.board.elapsed

    def _say_end(self, who: str, key: tuple[str, Status, str], seconds: float) -> None:
        step, status, detail = key
        self._say(f"{who}: {step} {status} in {format_seconds(seconds)}" + (f": {detail}" if detail else ""))

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
