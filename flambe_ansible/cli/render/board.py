"""The progress of a launch: the steps of every host, as data and as a table with one line per host."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from flambe_ansible.cli.render.words import count, format_seconds, shorten_host
from flambe_ansible.events import Activity, Status, StepEvent

LAST_STEP = "ray"
STYLES = {Status.RUNNING: "cyan", Status.OK: "green", Status.CHANGED: "yellow", Status.FAILED: "bold red"}
HOST_WIDTH = 24  # columns, so that a long name leaves room for the others
CHROME = 3  # lines of the table that are not hosts: the header, the summary, and one for the cursor


@dataclass
class Cell:
    """The state of one step on one host; times in seconds."""

    status: Status
    started: float
    seconds: float | None = None
    detail: str = ""
    activity: str = ""


@dataclass
class Row:
    """The steps of one host, the latest last, and how many of them are in each status."""

    place: int  # among all hosts
    cells: dict[str, Cell] = field(default_factory=dict)
    counts: Counter[Status] = field(default_factory=Counter)

    @property
    def finished(self) -> int:
        """The number of finished steps."""
        return len(self.cells) - self.counts[Status.RUNNING]

    @property
    def has_failed(self) -> bool:
        """Whether a step failed."""
        return self.counts[Status.FAILED] > 0

    @property
    def has_ended(self) -> bool:
        """Whether there are steps, and all of them succeeded."""
        return bool(self.cells) and not (self.counts[Status.RUNNING] or self.counts[Status.FAILED])

    @property
    def rank(self) -> tuple[bool, int]:
        """Its place in the table: hosts that failed come first, then those with the fewest finished steps."""
        return not self.has_failed, self.finished

    def set(self, step: str, cell: Cell) -> None:
        """Set a step."""
        before = self.cells.pop(step, None)
        if before:
            self.counts[before.status] -= 1
        self.cells[step] = cell
        self.counts[cell.status] += 1


@dataclass
class Board:
    """All steps of all hosts; thread-safe. ``hosts`` are the names of all that take part, in order.

    The hosts are kept by their rank, so that a frame costs no more than the lines that it shows.
    """

    cluster: str
    hosts: Sequence[str] = ()
    clock: Callable[[], float] = time.monotonic
    succeeded: bool = False
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _rows: dict[str, Row] = field(default_factory=dict)
    _ranks: dict[tuple[bool, int], dict[str, None]] = field(default_factory=dict)
    _totals: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.started = self.clock()
        for host in self.hosts:
            self._find_row(host)

    @property
    def elapsed(self) -> float:
        """Seconds since the start."""
        return self.clock() - self.started

    def add(self, event: StepEvent) -> Cell:
        """Record an event and return its cell. If the event has no duration, the measured one is used."""
        with self._lock:
            now = self.clock()
            row = self._find_row(event.host)
            before = row.cells.get(event.step)
            started = before.started if before and before.status is Status.RUNNING else now
            seconds = event.seconds
            if seconds is None and event.status is not Status.RUNNING:
                seconds = now - started
            cell = Cell(status=event.status, started=started, seconds=seconds, detail=event.detail)
            self._count(event.host, row, -1)
            row.set(event.step, cell)
            self._count(event.host, row, 1)
            return cell

    def add_activity(self, event: Activity) -> str:
        """Record what a host does, if a step is running there; return the step, or ""."""
        with self._lock:
            row = self._rows.get(event.host)
            for step, cell in row.cells.items() if row else ():
                if cell.status is Status.RUNNING:
                    cell.activity = event.text
                    return step
            return ""

    def list_changes(self) -> list[tuple[str, str, str]]:
        """List the changes as (host, step, detail)."""
        with self._lock:
            return [(host, step, cell.detail) for host, step, cell in self._list() if cell.status is Status.CHANGED]

    def to_list(self) -> list[dict[str, object]]:
        """Return the finished steps as plain data."""
        with self._lock:
            return [
                {"host": host, "step": step, "status": str(cell.status), "seconds": cell.seconds, "detail": cell.detail}
                for host, step, cell in self._list()
                if cell.status is not Status.RUNNING
            ]

    def _list(self) -> Iterator[tuple[str, str, Cell]]:
        return ((host, step, cell) for host, row in self._rows.items() for step, cell in row.cells.items())

    def _find_row(self, host: str) -> Row:
        if host not in self._rows:
            self._rows[host] = Row(place=len(self._rows))
            self._count(host, self._rows[host], 1)
        return self._rows[host]

    def _count(self, host: str, row: Row, by: int) -> None:
        """Add a host to its rank and to the totals, or remove it."""
        if by > 0:
            self._ranks.setdefault(row.rank, {})[host] = None
        else:
            del self._ranks[row.rank][host]
        self._totals["failed"] += by * row.has_failed
        self._totals["ended"] += by * row.has_ended
        self._totals["ready"] += by * (row.has_ended and LAST_STEP in row.cells)

    def render(self, height: int | None = None) -> RenderableType:
        """Draw the table; if the hosts need more lines than ``height``, those that failed or are behind are shown."""
        with self._lock:
            shown = self._pick(len(self._rows) if height is None else max(height - CHROME, 1))
            table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim", expand=True)
            table.add_column("host", no_wrap=True, overflow="ellipsis", max_width=HOST_WIDTH)
            table.add_column("steps", no_wrap=True, justify="right")
            table.add_column("step", no_wrap=True)
            table.add_column("time", no_wrap=True, justify="right")
            table.add_column("detail", no_wrap=True, overflow="ellipsis", ratio=1)
            for host in shown:
                table.add_row(shorten_host(host, self.cluster), *self._draw(self._rows[host]))
            return Group(table, Text(self._summarize(hidden=len(self._rows) - len(shown)), style="dim"))

    def _pick(self, room: int) -> list[str]:
        """Pick the hosts that need attention first, by rank; they are shown in their order."""
        ranked = (host for rank in sorted(self._ranks) for host in self._ranks[rank])
        return sorted(islice(ranked, room), key=lambda host: self._rows[host].place)

    def _draw(self, row: Row) -> tuple[str, Text, str, Text]:
        """Draw the columns of one host: finished steps, current step, its time, its detail."""
        cells, finished = row.cells, str(row.finished)
        if not cells:
            return finished, Text("waiting", style="dim"), "", Text("")
        step = _find_current(cells)
        cell = cells[step]
        style = STYLES.get(cell.status, "dim")
        if row.has_ended and (self.succeeded or LAST_STEP in cells):
            seconds = sum(one.seconds or 0.0 for one in cells.values())
            return finished, Text("done", style="green"), format_seconds(seconds), _list_changed(cells)
        seconds = self.clock() - cell.started if cell.seconds is None else cell.seconds
        name = Text(f"{step} FAILED" if cell.status is Status.FAILED else step, style=style)
        return finished, name, format_seconds(seconds), Text(cell.activity or " ".join(cell.detail.split()))

    def _summarize(self, *, hidden: int) -> str:
        done = self._totals["ended" if self.succeeded else "ready"]
        parts = [f"{done} of {count(len(self._rows), 'host')} done", format_seconds(self.elapsed)]
        if self._totals["failed"]:
            parts.insert(1, f"{self._totals['failed']} failed")
        if hidden:
            parts.insert(0, f"{count(hidden, 'more host')} not shown")
        return " · ".join(parts)


def _find_current(cells: dict[str, Cell]) -> str:
    """Find the step to show: the failed one, the running one, or the latest."""
    for status in (Status.FAILED, Status.RUNNING):
        for step, cell in cells.items():
            if cell.status is status:
                return step
    return list(cells)[-1]


def _list_changed(cells: dict[str, Cell]) -> Text:
    changed = [step for step, cell in cells.items() if cell.status is Status.CHANGED]
    return Text.assemble(("changed: ", "yellow"), ", ".join(changed)) if changed else Text("unchanged", style="dim")
