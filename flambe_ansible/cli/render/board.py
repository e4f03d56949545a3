"""The progress of a launch: the steps of every host, as data and as a table with one line per host."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

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
class Board:
    """All steps of all hosts; thread-safe. ``hosts`` are the names of all that take part, in order."""

    cluster: str
    hosts: Sequence[str] = ()
    clock: Callable[[], float] = time.monotonic
    cells: dict[tuple[str, str], Cell] = field(default_factory=dict)
    succeeded: bool = False
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self.started = self.clock()

    @property
    def elapsed(self) -> float:
        """Seconds since the start."""
        return self.clock() - self.started

    def add(self, event: StepEvent) -> Cell:
        """Record an event and return its cell. If the event has no duration, the measured one is used."""
        with self._lock:
            now = self.clock()
            before = self.cells.pop((event.host, event.step), None)  # the latest step of a host comes last
            started = before.started if before and before.status is Status.RUNNING else now
            seconds = event.seconds
            if seconds is None and event.status is not Status.RUNNING:
                seconds = now - started
            cell = Cell(status=event.status, started=started, seconds=seconds, detail=event.detail)
            self.cells[event.host, event.step] = cell
            return cell

    def add_activity(self, event: Activity) -> str:
        """Record what a host does, if a step is running there; return the step, or ""."""
        with self._lock:
            for (host, step), cell in self.cells.items():
                if host == event.host and cell.status is Status.RUNNING:
                    cell.activity = event.text
                    return step
            return ""

    def list_changes(self) -> list[tuple[str, str, str]]:
        """List the changes as (host, step, detail)."""
        with self._lock:
            return [(*key, cell.detail) for key, cell in self.cells.items() if cell.status is Status.CHANGED]

    def to_list(self) -> list[dict[str, object]]:
        """Return the finished steps as plain data."""
        with self._lock:
            return [
                {"host": host, "step": step, "status": str(cell.status), "seconds": cell.seconds, "detail": cell.detail}
                for (host, step), cell in self.cells.items()
                if cell.status is not Status.RUNNING
            ]

    def render(self, height: int | None = None) -> RenderableType:
        """Draw the table; if the hosts need more lines than ``height``, those that failed or are behind are shown."""
        with self._lock:
            rows: dict[str, dict[str, Cell]] = {host: {} for host in self.hosts}
            for (host, step), cell in self.cells.items():
                rows.setdefault(host, {})[step] = cell
            shown = _pick(rows, len(rows) if height is None else max(height - CHROME, 1))
            table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim", expand=True)
            table.add_column("host", no_wrap=True, overflow="ellipsis", max_width=HOST_WIDTH)
            table.add_column("steps", no_wrap=True, justify="right")
            table.add_column("step", no_wrap=True)
            table.add_column("time", no_wrap=True, justify="right")
            table.add_column("detail", no_wrap=True, overflow="ellipsis", ratio=1)
            for host in shown:
                table.add_row(shorten_host(host, self.cluster), *self._draw(rows[host]))
            return Group(table, Text(self._summarize(rows, hidden=len(rows) - len(shown)), style="dim"))

    def _draw(self, cells: dict[str, Cell]) -> tuple[str, Text, str, Text]:
        """Draw the columns of one host: finished steps, current step, its time, its detail."""
        finished = str(sum(cell.status is not Status.RUNNING for cell in cells.values()))
        if not cells:
            return finished, Text("waiting", style="dim"), "", Text("")
        step = _find_current(cells)
        cell = cells[step]
        style = STYLES.get(cell.status, "dim")
        if self._is_done(cells):
            seconds = sum(one.seconds or 0.0 for one in cells.values())
            return finished, Text("done", style="green"), format_seconds(seconds), _list_changed(cells)
        seconds = self.clock() - cell.started if cell.seconds is None else cell.seconds
        name = Text(f"{step} FAILED" if cell.status is Status.FAILED else step, style=style)
        return finished, name, format_seconds(seconds), Text(cell.activity or " ".join(cell.detail.split()))

    def _is_done(self, cells: dict[str, Cell]) -> bool:
        ended = all(cell.status not in (Status.RUNNING, Status.FAILED) for cell in cells.values())
        return ended and (self.succeeded or LAST_STEP in cells)

    def _summarize(self, rows: dict[str, dict[str, Cell]], *, hidden: int) -> str:
        done = sum(bool(cells) and self._is_done(cells) for cells in rows.values())
        failed = sum(_has_failed(cells) for cells in rows.values())
        parts = [f"{done} of {count(len(rows), 'host')} done", format_seconds(self.elapsed)]
        if failed:
            parts.insert(1, f"{failed} failed")
        if hidden:
            parts.insert(0, f"{count(hidden, 'more host')} not shown")
        return " · ".join(parts)


def _pick(rows: dict[str, dict[str, Cell]], room: int) -> list[str]:
    """Pick the hosts that need attention first: failed ones, then those with the fewest finished steps."""

    def rank(host: str) -> tuple[bool, int]:
        cells = rows[host]
        return not _has_failed(cells), sum(cell.status is not Status.RUNNING for cell in cells.values())

    picked = set(sorted(rows, key=rank)[:room])
    return [host for host in rows if host in picked]


def _find_current(cells: dict[str, Cell]) -> str:
    """Find the step to show: the failed one, the running one, or the latest."""
    for status in (Status.FAILED, Status.RUNNING):
        for step, cell in cells.items():
            if cell.status is status:
                return step
    return list(cells)[-1]


def _has_failed(cells: dict[str, Cell]) -> bool:
    return any(cell.status is Status.FAILED for cell in cells.values())


def _list_changed(cells: dict[str, Cell]) -> Text:
    changed = [step for step, cell in cells.items() if cell.status is Status.CHANGED]
    return Text.assemble(("changed: ", "yellow"), ", ".join(changed)) if changed else Text("unchanged", style="dim")
