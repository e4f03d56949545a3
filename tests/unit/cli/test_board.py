"""The live table: what it shows at which width and height."""

from __future__ import annotations

import io

import pytest
from rich.console import Console, RenderableType

from flambe_ansible.cli.render.board import Board
from flambe_ansible.events import Status, StepEvent

STEPS = ("create", "boot", "connect", "setup_cmds", "cluster_keys", "flambe", "secrets", "ray_node", "ray")


class Clock:
    """A clock that the test moves."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


def draw(what: RenderableType, *, width: int = 80) -> str:
    console = Console(file=io.StringIO(), width=width, markup=False, highlight=False)
    console.print(what)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def fill(board: Board, hosts: int, *, seconds: float = 3599.0) -> None:
    for index in range(hosts):
        for step in STEPS:
            board.add(StepEvent(host=f"demo_factory_{index}", step=step, status=Status.CHANGED, seconds=seconds))


@pytest.mark.parametrize("width", [80, 120])
def test_all_steps_fit(width: int) -> None:
    board = Board(cluster="demo", clock=Clock())
    fill(board, 3)
    text = draw(board.render(), width=width)
    head, *rows, _foot = text.splitlines()
    assert head.split() == ["host", "create", "boot", "connect", "setup", "keys", "flambe", "secrets", "ray", "nodes"]
    assert [row.split()[:2] for row in rows] == [["factory", str(index)] for index in range(3)]
    assert all(row.split()[2:] == ["59m59*"] * len(STEPS) for row in rows)
    assert max(map(len, text.splitlines())) <= width


def test_each_status_looks_different_without_colours() -> None:
    clock = Clock()
    board = Board(cluster="demo", hosts=["demo_orchestrator"], clock=clock)
    for step, status, seconds in (
        ("create", Status.OK, 2.0),
        ("boot", Status.CHANGED, 12.0),
        ("connect", Status.SKIPPED, 0.0),
        ("flambe", Status.FAILED, 3.0),
        ("secrets", Status.RUNNING, None),
    ):
        board.add(StepEvent(host="demo_orchestrator", step=step, status=status, seconds=seconds))
    clock.now += 5
    row = draw(board.render()).splitlines()[1]
    assert row.split() == ["orchestrator", "2.0s", "12s*", "-", "FAILED", "5.0s…"]


def test_an_end_without_a_time_gets_the_measured_one() -> None:
    clock = Clock()
    board = Board(cluster="demo", clock=clock)
    board.add(StepEvent(host="h", step="boot", status=Status.RUNNING))
    clock.now += 7
    assert board.add(StepEvent(host="h", step="boot", status=Status.OK)).seconds == 7


def test_a_low_terminal_shows_what_failed_and_folds_what_is_done() -> None:
    board = Board(cluster="demo", hosts=[f"demo_factory_{index}" for index in range(22)], clock=Clock())
    fill(board, 22)
    board.add(StepEvent(host="demo_factory_17", step="ray", status=Status.FAILED, seconds=1.0))
    text = draw(board.render(height=15))
    assert len(text.splitlines()) <= 15
    assert "factory 17" in text
    assert "and 12 more hosts" in text


def test_hosts_that_nothing_was_heard_of_are_there() -> None:
    board = Board(cluster="demo", hosts=["demo_orchestrator"], clock=Clock())
    assert "orchestrator" in draw(board.render())
