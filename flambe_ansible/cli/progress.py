"""Show what a launch does while it does it: a live table on a terminal, a line per ended step elsewhere."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from rich.live import Live

from flambe_ansible.cli.output import Output
from flambe_ansible.cli.render.board import Board, Cell
from flambe_ansible.cli.render.words import format_seconds
from flambe_ansible.events import Event, Notice, Status, StepEvent


class Progress:
    """An observer that draws.

    Args:
        output: Where to draw.
        cluster: The cluster's name.
        hosts: Names of the hosts that take part, in order.
    """

    def __init__(self, output: Output, *, cluster: str, hosts: Sequence[str] = ()) -> None:
        self.board = Board(cluster=cluster, hosts=hosts)
        self._output = output
        self._lock = threading.Lock()
        self._live: Live | None = None

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
        if self._live:
            self._live.stop()
            self._live = None

    def __call__(self, event: Event) -> None:
        """Take an event in and show it."""
        if isinstance(event, Notice):
            with self._lock:
                self._output.hear(event, console=self._output.console)  # the one that the table is on
            return
        cell = self.board.add(event)
        if self._live is None and event.status is not Status.RUNNING:
            with self._lock:
                self._output.say(write_line(event, cell, elapsed=self.board.elapsed))
                self._output.console.file.flush()


def write_line(event: StepEvent, cell: Cell, *, elapsed: float) -> str:
    """Write an ended step as one plain line."""
    took = format_seconds(cell.seconds or 0.0)
    words = f"[{format_seconds(elapsed):>5}] {event.host}: {event.step} {event.status} in {took}"
    detail = " ".join(event.detail.split())
    return f"{words}: {detail}" if detail else words
