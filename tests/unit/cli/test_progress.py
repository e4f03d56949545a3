"""The progress without a terminal: lines for finished steps, and for what hosts do in long ones."""

from __future__ import annotations

import io
from collections.abc import Callable

import pytest

from flambe_ansible.cli.output import Output, make_console
from flambe_ansible.cli.progress import Progress
from flambe_ansible.events import Activity, Event, Status, StepEvent

Show = Callable[..., list[str]]


@pytest.fixture
def show() -> Show:
    """Show events, each with the seconds since the start; return the lines without the time."""
    stream = io.StringIO()
    progress = Progress(Output(_stdout=make_console(stream)), cluster="demo")
    progress.board.started = 0.0

    def call(*events: tuple[float, Event]) -> list[str]:
        for seconds, event in events:
            progress.board.clock = lambda seconds=seconds: seconds  # type: ignore[misc]
            progress(event)
        return [line.partition("] ")[2] for line in stream.getvalue().splitlines()]

    return call


def start(host: str) -> StepEvent:
    return StepEvent(host=host, step="flambe", status=Status.RUNNING, detail="Install the runtime")


def test_a_line_if_the_text_changed_and_at_most_one_in_ten_seconds(show: Show) -> None:
    events: list[tuple[float, Event]] = [(0, start("a")), (0, start("b"))]
    events += [(float(second), Activity(host="a", text=f"{second} MB")) for second in range(1, 40, 2)]
    events += [(40, Activity(host="b", text="importing")), (60, Activity(host="b", text="importing"))]
    events += [(61, Activity(host="b", text="")), (62, Activity(host="b", text="installing"))]
    assert show(*events) == [
        "a: flambe: 1 MB",
        "a: flambe: 11 MB",
        "a: flambe: 21 MB",
        "a: flambe: 31 MB",
        "b: flambe: importing",
        "b: flambe: installing",
    ]


def test_a_text_that_came_too_early_is_shown_later(show: Show) -> None:
    events = [(0, start("a")), (3, Activity(host="a", text="one"))]
    events += [(second, Activity(host="a", text="two")) for second in (5, 7, 9, 11, 13, 15)]
    assert show(*events) == ["a: flambe: one", "a: flambe: two"]


def test_nothing_after_the_step(show: Show) -> None:
    done = StepEvent(host="a", step="flambe", status=Status.OK, seconds=4.0)
    assert show((0, start("a")), (4, done), (5, Activity(host="a", text="late"))) == ["a: flambe ok in 4.0s"]


def test_a_step_of_many_hosts_is_one_line_for_each_end_and_failures_have_their_own() -> None:
    stream, hosts = io.StringIO(), [f"h{number}" for number in range(20)]
    progress = Progress(Output(_stdout=make_console(stream)), cluster="demo", hosts=hosts)
    progress.board.started = 0.0

    def end(host: str, step: str, status: Status = Status.OK, *, at: float, detail: str = "") -> None:
        progress.board.clock = lambda: at
        progress(StepEvent(host=host, step=step, status=status, seconds=at, detail=detail))

    with progress:
        for number, host in enumerate(hosts):
            end(host, "connect", at=1 + number / 10)
        for host in hosts[:15]:
            end(host, "keys", Status.CHANGED, at=4, detail="write the key")
        end(hosts[15], "keys", Status.FAILED, at=5, detail="no space left")
        end(hosts[16], "keys", at=6)
        end(hosts[17], "keys", at=16)  # ten seconds after the last line
        end(hosts[18], "keys", at=17)
        end(hosts[19], "idle", at=18)  # another step
    assert [line.partition("] ")[2] for line in stream.getvalue().splitlines()] == [
        "20 of 20 hosts: connect ok in 2.9s",
        "h15: keys failed in 5.0s: no space left",
        "15 of 20 hosts: keys changed in 4.0s: write the key",
        "2 of 20 hosts: keys ok in 16s",
        "h18: keys ok in 17s",
        "h19: idle ok in 18s",
    ]


def test_details_that_most_hosts_do_not_share_are_left_out() -> None:
    stream, hosts = io.StringIO(), [f"h{number}" for number in range(20)]
    with Progress(Output(_stdout=make_console(stream)), cluster="demo", hosts=hosts) as progress:
        for number, host in enumerate(hosts):
            progress(StepEvent(host=host, step="boot", status=Status.OK, seconds=1.0, detail=f"10.0.0.{number}"))
            words = "write known_hosts" if number else "write known_hosts and config"
            progress(StepEvent(host=host, step="keys", status=Status.CHANGED, seconds=2.0, detail=words))
    assert sorted(line.partition("] ")[2] for line in stream.getvalue().splitlines()) == [
        "19 of 20 hosts: keys changed in 2.0s: write known_hosts",
        "20 of 20 hosts: boot ok in 1.0s",
        "h0: keys changed in 2.0s: write known_hosts and config",
    ]


def test_one_host_stands_for_what_many_do() -> None:
    stream, hosts = io.StringIO(), [f"h{number}" for number in range(20)]
    progress = Progress(Output(_stdout=make_console(stream)), cluster="demo", hosts=hosts)
    progress.board.started = 0.0
    for second in range(30):
        progress.board.clock = lambda second=second: second  # type: ignore[misc]
        for host in hosts:
            progress(StepEvent(host=host, step="flambe", status=Status.RUNNING))
            progress(Activity(host=host, text=f"{second} MB"))
    assert [line.partition("] ")[2] for line in stream.getvalue().splitlines()] == [
        "h0: flambe: 0 MB",
        "h0: flambe: 10 MB",
        "h0: flambe: 20 MB",
    ]


def test_no_line_for_a_skipped_step(show: Show) -> None:
    skipped = StepEvent(host="a", step="python_env", status=Status.SKIPPED, seconds=0.1)
    assert show((1, skipped)) == []
