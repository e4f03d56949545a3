"""Hosts by steps with times: what a launch has done so far, as data and as a table."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from flambe_ansible.cli.render.words import format_seconds, shorten_host
from flambe_ansible.events import Status, StepEvent

# Heads of at most seven letters, so that all steps fit into 80 columns.
HEADS = {"setup_cmds": "setup", "cluster_keys": "keys", "ray_node": "ray", "ray": "nodes"}
STYLES = {Status.RUNNING: "cyan", Status.OK: "green", Status.CHANGED: "yellow", Status.FAILED: "bold red"}
KEY = "* changed something, - nothing to do"


@dataclass
class Cell:
    """Where one step stands on one host; times in seconds."""

    status: Status
    started: float
    seconds: float | None = None
    detail: str = ""


@dataclass
class Board:
    """All cells; safe to fill from several threads.

    Attributes:
        cluster: The cluster's name, which hosts' names begin with.
        hosts: Names of all hosts that will take part, in order.
    """

    cluster: str
    hosts: Sequence[str] = ()
    clock: Callable[[], float] = time.monotonic
    cells: dict[tuple[str, str], Cell] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self.started = self.clock()

    @property
    def elapsed(self) -> float:
        """Seconds since the launch began."""
        return self.clock() - self.started

    def add(self, event: StepEvent) -> Cell:
        """Take an event in, and return its cell; an end without a time gets the one measured here."""
        with self._lock:
            now = self.clock()
            before = self.cells.get((event.host, event.step))
            started = before.started if before and before.status is Status.RUNNING else now
            seconds = event.seconds
            if seconds is None and event.status is not Status.RUNNING:
                seconds = now - started
            cell = Cell(status=event.status, started=started, seconds=seconds, detail=event.detail)
            self.cells[event.host, event.step] = cell
            return cell

    def list_changes(self) -> list[tuple[str, str, str]]:
        """List what changed: host, step, detail."""
        with self._lock:
            return [
                (host, step, cell.detail) for (host, step), cell in self.cells.items() if cell.status is Status.CHANGED
            ]

    def to_list(self) -> list[dict[str, object]]:
        """Return the ended steps as plain data."""
        with self._lock:
            return [
                {"host": host, "step": step, "status": str(cell.status), "seconds": cell.seconds, "detail": cell.detail}
                for (host, step), cell in self.cells.items()
                if cell.status is not Status.RUNNING
            ]

    def render(self, height: int | None = None) -> RenderableType:
        """Draw the table; where it is higher than ``height`` lines, the hosts that are done are folded into one."""
        with self._lock:
            steps = list(dict.fromkeys(step for _, step in self.cells))
            hosts = list(dict.fromkeys([*self.hosts, *(host for host, _ in self.cells)]))
            room = None if height is None else max(height - 5, 1)
            shown = hosts if room is None or len(hosts) <= room else self._pick(hosts, room)
            table = Table(box=None, padding=(0, 1, 0, 0), header_style="dim", pad_edge=False)
            table.add_column(Text("host"), no_wrap=True)
            for step in steps:
                table.add_column(Text(HEADS.get(step, step)), justify="right", no_wrap=True)
            for host in shown:
                table.add_row(shorten_host(host, self.cluster), *(self._draw(host, step) for step in steps))
            folded = len(hosts) - len(shown)
            foot = f"and {folded} more hosts; " if folded else ""
            return Group(table, Text(f"{foot}{format_seconds(self.elapsed)}; {KEY}", style="dim"))

    def _pick(self, hosts: Sequence[str], room: int) -> list[str]:
        """Pick the hosts that most want a look: failed ones, then those with the fewest ended steps."""

        def rank(host: str) -> tuple[bool, int]:
            own = [cell for (name, _), cell in self.cells.items() if name == host]
            failed = any(cell.status is Status.FAILED for cell in own)
            return not failed, sum(cell.status is not Status.RUNNING for cell in own)

        picked = set(sorted(hosts, key=rank)[:room])
        return [host for host in hosts if host in picked]

    def _draw(self, host: str, step: str) -> Text:
        cell = self.cells.get((host, step))
        if cell is None:
            return Text("")
        if cell.status is Status.SKIPPED:
            return Text("-", style="dim")
        if cell.status is Status.FAILED:
            return Text("FAILED", style=STYLES[cell.status])
        seconds = self.clock() - cell.started if cell.seconds is None else cell.seconds
        mark = {Status.RUNNING: "…", Status.CHANGED: "*"}.get(cell.status, " ")
        return Text(format_seconds(seconds) + mark, style=STYLES[cell.status])
