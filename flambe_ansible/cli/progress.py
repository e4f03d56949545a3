"""Show the progress of a launch: a live table on a terminal, else lines for finished and for long steps."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from rich.live import Live

from flambe_ansible.cli.output import Output
from flambe_ansible.cli.render.board import Board
from flambe_ansible.cli.render.words import format_seconds
from flambe_ansible.events import Activity, Event, Notice, Status

ACTIVITY_SECONDS = 10.0  # between two lines about what a host does


class Progress:
    """An observer that prints; ``hosts`` are the names of the hosts that take part, in order."""

    def __init__(self, output: Output, *, cluster: str, hosts: Sequence[str] = ()) -> None:
        self.board = Board(cluster=cluster, hosts=hosts)
        self._output = output
        self._lock = threading.Lock()
        self._live: Live | None = None
        self._activities: dict[str, tuple[str, float]] = {}  # the last line about what a host does, and its time

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
            took, detail = format_seconds(cell.seconds or 0.0), " ".join(event.detail.split())
            line = f"{event.host}: {event.step} {event.status} in {took}" + (f": {detail}" if detail else "")
            with self._lock:
                self._say(line)

    def _show_activity(self, event: Activity) -> None:
        """Show what a host does; without a table a line is printed if it changed, and not too often."""
        step, now = self.board.add_activity(event), self.board.elapsed
        if self._live or not step or not event.text:
            return
        line = f"{event.host}: {step}: {event.text}"
        with self._lock:
            before, printed = self._activities.get(event.host, ("", -ACTIVITY_SECONDS))
            if line != before and now - printed >= ACTIVITY_SECONDS:
                self._activities[event.host] = line, now
                self._say(line)

    def _say(self, line: str) -> None:
        self._output.say(f"[{format_seconds(self.board.elapsed):>5}] {line}")
        self._output.console.file.flush()
