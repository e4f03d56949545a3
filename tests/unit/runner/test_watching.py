"""Hosts that are lost, and what that means for the run."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import watching

from tests.unit.runner.conftest import HOSTS

ALL = {"10.0.0.1", "10.0.0.2", "10.0.0.3"}
WITHOUT_TWO = ALL - {"10.0.0.3"}
HEAD_ALONE = {"10.0.0.1"}


class Heard:
    """What a watch told."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.lost: list[list[str]] = []


@pytest.fixture
def heard(monkeypatch: pytest.MonkeyPatch) -> Heard:
    monkeypatch.setattr(watching, "explain", lambda host: "the host does not answer (timed out)")
    return Heard()


@pytest.fixture
def watch(make_settings: Callable[..., Any], tmp_path: Path, heard: Heard) -> Any:
    spec = {"hosts": HOSTS, "save_path": str(tmp_path)}
    return watching.Watch(
        make_settings(), spec, heard.lines.append, lambda lost: heard.lost.append([one["name"] for one in lost])
    )


def test_the_second_look_without_a_host_loses_it_once(watch: Any, heard: Heard) -> None:
    for clock in (0, 20):
        watch.look(ALL, "", clock)
    watch.look(WITHOUT_TWO, "", 40)
    assert heard.lines == []
    for clock in (60, 80):
        watch.look(WITHOUT_TWO, "", clock)
    assert heard.lines == ["two (10.0.0.3) is lost: the host does not answer (timed out)"]
    assert heard.lost == [["two"]]
    assert watch.verdict == ""


def test_a_host_that_blinks_is_not_lost_and_one_that_comes_back_is_told(watch: Any, heard: Heard) -> None:
    for clock, alive in ((0, WITHOUT_TWO), (20, ALL), (40, WITHOUT_TWO), (60, WITHOUT_TWO), (80, ALL)):
        watch.look(alive, "", clock)
    assert heard.lines[1:] == ["two is back"]
    assert heard.lost == [["two"], []]


def test_no_new_result_after_a_loss_ends_the_run(watch: Any, tmp_path: Path) -> None:
    result = tmp_path / "result.json"
    result.touch()
    import os

    os.utime(result, (500, 500))
    for clock in (0, 20, 1390):
        watch.look(WITHOUT_TWO, "", clock)
        assert watch.verdict == ""
    watch.look(WITHOUT_TWO, "", 1401)
    assert watch.verdict == "no progress for 901 s after two was lost"


def test_without_any_factory_the_run_ends_soon(watch: Any) -> None:
    for clock in (0, 20, 55):
        watch.look(HEAD_ALONE, "", clock)
        assert watch.verdict == ""
    watch.look(HEAD_ALONE, "", 65)
    assert watch.verdict == "no factory is left: one, two lost"


def test_a_head_that_stays_away_ends_the_run_but_flambes_own_end_does_not(watch: Any, heard: Heard) -> None:
    watch.look(ALL, "", 0)
    for clock in (20, 100, 200):
        watch.look(set(), "nothing answers at 10.0.0.1:12345", clock)
        assert watch.verdict == ""
    watch.look(set(), "nothing answers at 10.0.0.1:12345", 201)
    assert watch.verdict == "Ray's head on the orchestrator does not answer: nothing answers at 10.0.0.1:12345"
    assert heard.lines == []


def test_a_run_that_failed_by_itself_is_told_of_hosts_that_nobody_missed_yet(
    watch: Any, heard: Heard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("refreshing.ask", lambda settings: (WITHOUT_TWO, ""))
    assert watch.conclude() == ["two"]
    assert heard.lost == [["two"]]


def test_a_run_that_failed_and_stopped_ray_is_told_of_hosts_that_do_not_answer(
    watch: Any, heard: Heard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("refreshing.ask", lambda settings: (set(), "flambe has stopped Ray"))
    monkeypatch.setattr(watching, "find_silence", lambda host: "timed out" if host["name"] == "one" else "")
    assert watch.conclude() == ["one"]
    assert heard.lost == [["one"]]


def test_a_host_that_refuses_or_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        host = {"address": "127.0.0.1", "port": server.getsockname()[1]}
        assert watching.explain(host) == "Ray on it has ended, the host still answers"
    assert watching.explain(host) == "the host does not answer (Connection refused)"
