"""The live table: its content at several widths and heights."""

from __future__ import annotations

import io

import pytest
from rich.console import Console, RenderableType

from flambe_ansible.cli.render.board import Board
from flambe_ansible.events import Activity, Status, StepEvent

STEPS = ("create", "boot", "connect", "setup_cmds", "cluster_keys", "flambe", "cluster_secrets", "ray_node", "ray")


class Clock:
    """A clock that the test sets."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


def draw(what: RenderableType, *, width: int = 80) -> list[str]:
    console = Console(file=io.StringIO(), width=width, markup=False, highlight=False)
    console.print(what)
    assert isinstance(console.file, io.StringIO)
    lines = console.file.getvalue().splitlines()
    assert max(map(len, lines)) <= width
    return [line.rstrip() for line in lines]


def send(board: Board, host: str, step: str, status: Status, *, seconds: float | None = None, detail: str = "") -> None:
    board.add(StepEvent(host=f"demo_{host}", step=step, status=status, seconds=seconds, detail=detail))


def fill(board: Board, hosts: int) -> None:
    for index in range(hosts):
        for step in STEPS:
            status = Status.CHANGED if step == "flambe" else Status.OK
            send(board, f"factory_{index}", step, status, seconds=2.0)


def test_one_line_per_host_at_80_columns() -> None:
    clock = Clock()
    board = Board(cluster="demo", hosts=["demo_orchestrator", "demo_factory_0", "demo_factory_1"], clock=clock)
    fill(board, 1)
    send(board, "orchestrator", "create", Status.CHANGED, seconds=3.0)
    send(board, "orchestrator", "extensions", Status.RUNNING, detail="Install the extensions\nof this job " + "x" * 80)
    clock.now += 72
    assert draw(board.render()) == [
        "host          steps  step        time  detail",
        "orchestrator      1  extensions   72s  Install the extensions of this job xxxxx…",
        "factory 0         9  done         18s  changed: flambe",
        "factory 1         0  waiting",
        "1 of 3 hosts done · 72s",
    ]


@pytest.mark.parametrize("width", [60, 80, 120])
def test_only_the_detail_is_truncated(width: int) -> None:
    board = Board(cluster="demo", clock=Clock())
    send(board, "factory_10", "cluster_keys", Status.FAILED, seconds=3599.0, detail="word " * 50)
    row = draw(board.render(), width=width)[1]
    assert row.startswith("factory 10      1  cluster_keys FAILED  59m59  ")


def test_each_status_is_a_word() -> None:
    clock = Clock()
    board = Board(cluster="demo", clock=clock)
    send(board, "factory_0", "boot", Status.OK, seconds=2.0)
    send(board, "factory_1", "flambe", Status.FAILED, seconds=3.0, detail="no space left")
    send(board, "factory_2", "secrets", Status.RUNNING)
    send(board, "factory_3", "ray", Status.OK, seconds=1.0)
    clock.now += 5
    assert [line.split(maxsplit=3)[3] for line in draw(board.render())[1:-1]] == [
        "boot           2.0s",
        "flambe FAILED  3.0s  no space left",
        "secrets        5.0s",
        "done           1.0s  unchanged",
    ]
    assert draw(board.render())[-1] == "1 of 4 hosts done · 1 failed · 5.0s"


def test_after_a_success_all_hosts_are_done() -> None:
    board = Board(cluster="demo", clock=Clock())
    send(board, "orchestrator", "cluster_keys", Status.CHANGED, seconds=2.0)
    assert draw(board.render())[-1].startswith("0 of 1 host done")
    board.succeeded = True
    assert draw(board.render())[1:] == [
        "orchestrator      1  done  2.0s  changed: cluster_keys",
        "1 of 1 host done · 0.0s",
    ]


def test_the_tasks_of_a_step_share_its_start() -> None:
    clock = Clock()
    board = Board(cluster="demo", clock=clock)
    send(board, "orchestrator", "flambe", Status.RUNNING, detail="first")
    clock.now += 7
    send(board, "orchestrator", "flambe", Status.RUNNING, detail="second")
    assert draw(board.render())[1].split() == ["orchestrator", "0", "flambe", "7.0s", "second"]
    assert board.add(StepEvent(host="demo_orchestrator", step="flambe", status=Status.OK)).seconds == 7


def test_the_activity_replaces_the_task_until_the_next_one() -> None:
    board = Board(cluster="demo", clock=Clock())
    send(board, "factory_0", "connect", Status.OK, seconds=2.0)
    assert board.add_activity(Activity(host="demo_factory_0", text="early")) == ""
    send(board, "factory_0", "flambe", Status.RUNNING, detail="Install the runtime")
    assert board.add_activity(Activity(host="demo_factory_1", text="unknown host")) == ""
    shown = []
    for text in ("downloading 412 of 900 MB", ""):
        assert board.add_activity(Activity(host="demo_factory_0", text=text)) == "flambe"
        shown.append(draw(board.render())[1].split(maxsplit=5)[5])
    board.add_activity(Activity(host="demo_factory_0", text="left from the previous task"))
    send(board, "factory_0", "flambe", Status.RUNNING, detail="Copy uv")
    shown.append(draw(board.render())[1].split(maxsplit=5)[5])
    assert shown == ["downloading 412 of 900 MB", "Install the runtime", "Copy uv"]
    send(board, "factory_0", "flambe", Status.CHANGED, detail="install")
    assert "installing" not in "".join(draw(board.render()))


@pytest.mark.parametrize("width", [80, 120])
@pytest.mark.parametrize("hosts", [3, 13])
def test_long_names_and_slow_hosts_leave_steps_and_times_whole(width: int, hosts: int) -> None:
    clock = Clock()
    names = [f"gpu-node-with-a-very-long-name-{index}.datacenter.example.com" for index in range(hosts)]
    board = Board(cluster="demo", hosts=names, clock=clock)
    for name in names:
        board.add(StepEvent(host=name, step="cluster_keys", status=Status.RUNNING))
        board.add_activity(Activity(host=name, text="command 12 of 15: " + "Setting up a package " * 9))
    clock.now += 3599
    header, *rows, summary = draw(board.render(40), width=width)
    assert header.split() == ["host", "steps", "step", "time", "detail"]
    assert len(rows) == hosts
    for row in rows:
        assert row.startswith("gpu-node-with-a-very-lo…      0  cluster_keys  59m59  command 12 of 15: ")
    assert summary == f"0 of {hosts} hosts done · 59m59"


def test_a_short_terminal_shows_the_hosts_that_need_attention() -> None:
    board = Board(cluster="demo", hosts=[f"demo_factory_{index}" for index in range(22)], clock=Clock())
    fill(board, 22)
    send(board, "factory_17", "ray", Status.FAILED, seconds=1.0)
    lines = draw(board.render(height=15))
    assert len(lines) < 15
    assert any("factory 17" in line and "FAILED" in line for line in lines)
    assert lines[-1] == "10 more hosts not shown · 21 of 22 hosts done · 1 failed · 0.0s"
