"""Lost hosts and their effect on the job."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import watching

from tests.unit.runner.conftest import HOSTS

ALL = {"10.0.0.1", "10.0.0.2", "10.0.0.3"}
WITHOUT_TWO = ALL - {"10.0.0.3"}
HEAD_ALONE = {"10.0.0.1"}


class Received:
    """The messages and changes that a watch reports."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.lost: list[list[str]] = []


@pytest.fixture
def received(monkeypatch: pytest.MonkeyPatch) -> Received:
    monkeypatch.setattr(watching, "explain", lambda host: "the host does not answer (timed out)")
    return Received()


@pytest.fixture
def watch(make_settings: Callable[..., Any], tmp_path: Path, received: Received) -> Any:
    spec = {"hosts": HOSTS, "save_path": str(tmp_path)}
    return watching.Watch(
        make_settings(), spec, received.lines.append, lambda lost: received.lost.append([one["name"] for one in lost])
    )


def test_a_host_is_lost_after_two_misses(watch: Any, received: Received) -> None:
    for clock in (0, 20):
        watch.evaluate(ALL, "", clock)
    watch.evaluate(WITHOUT_TWO, "", 40)
    assert received.lines == []
    for clock in (60, 80):
        watch.evaluate(WITHOUT_TWO, "", clock)
    assert received.lines == ["two (10.0.0.3) is lost: the host does not answer (timed out)"]
    assert received.lost == [["two"]]
    assert watch.verdict == ""


def test_many_hosts_are_checked_at_the_same_time_in_a_bounded_pool(
    make_settings: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    hosts = [{"name": f"f{index}", "address": f"10.0.1.{index}", "port": 22} for index in range(64)]
    together, running, most = threading.Barrier(32, timeout=30), [0], [0]

    def explain(_host: dict[str, Any]) -> str:
        running[0] += 1
        most[0] = max(most[0], running[0])
        together.wait()  # passes only if 32 of them run at the same time
        running[0] -= 1
        return "the host does not answer (timed out)"

    monkeypatch.setattr(watching, "explain", explain)
    lost: list[int] = []
    watch = watching.Watch(
        make_settings(),
        {"hosts": {"workers": hosts}},
        lambda _line: None,
        lambda documents: lost.append(len(documents)),
    )
    for clock in (0, 20):
        watch.evaluate({"10.0.0.1"}, "", clock)
    assert lost == [64]
    assert most[0] <= 32


def test_a_single_miss_is_not_a_loss_and_a_return_is_reported(watch: Any, received: Received) -> None:
    for clock, alive in ((0, WITHOUT_TWO), (20, ALL), (40, WITHOUT_TWO), (60, WITHOUT_TWO), (80, ALL)):
        watch.evaluate(alive, "", clock)
    assert received.lines[1:] == ["two is back"]
    assert received.lost == [["two"], []]


def test_no_new_result_after_a_loss_ends_the_job(watch: Any, tmp_path: Path) -> None:
    result = tmp_path / "result.json"
    result.touch()
    import os

    os.utime(result, (500, 500))
    for clock in (0, 20, 1390):
        watch.evaluate(WITHOUT_TWO, "", clock)
        assert watch.verdict == ""
    watch.evaluate(WITHOUT_TWO, "", 1401)
    assert watch.verdict == "no progress for 901 s after two was lost"


def test_without_any_factory_the_job_ends_soon(watch: Any) -> None:
    for clock in (0, 20, 55):
        watch.evaluate(HEAD_ALONE, "", clock)
        assert watch.verdict == ""
    watch.evaluate(HEAD_ALONE, "", 65)
    assert watch.verdict == "all factories are lost: one, two"


def test_a_lost_head_ends_the_job_unless_flambe_has_ended(watch: Any, received: Received) -> None:
    watch.evaluate(ALL, "", 0)
    for clock in (20, 100, 200):
        watch.evaluate(set(), "nothing answers at 10.0.0.1:12345", clock)
        assert watch.verdict == ""
    watch.evaluate(set(), "nothing answers at 10.0.0.1:12345", 201)
    assert watch.verdict == "the head of Ray on the orchestrator does not answer: nothing answers at 10.0.0.1:12345"
    assert received.lines == []


def test_a_failed_job_finds_hosts_that_were_not_missed_before(
    watch: Any, received: Received, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("refreshing.read_nodes", lambda settings: (WITHOUT_TWO, ""))
    assert watch.conclude() == ["two"]
    assert received.lost == [["two"]]


def test_a_failed_job_that_stopped_ray_finds_hosts_that_do_not_answer(
    watch: Any, received: Received, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("refreshing.read_nodes", lambda settings: (set(), "flambe has stopped Ray"))
    monkeypatch.setattr(watching, "find_silence", lambda host: "timed out" if host["name"] == "one" else "")
    assert watch.conclude() == ["one"]
    assert received.lost == [["one"]]


def test_a_host_that_refuses_or_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        host = {"address": "127.0.0.1", "port": server.getsockname()[1]}
        assert watching.explain(host) == "Ray on it has ended; the host still answers"
    assert watching.explain(host) == "the host does not answer (Connection refused)"
