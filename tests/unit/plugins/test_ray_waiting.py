"""The wait for Ray's nodes on a host."""

from __future__ import annotations

import getpass
import json
import pwd
import socket
import time
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.flambe.cluster.plugins.module_utils import ray_waiting, systemd

ACCOUNT = pwd.getpwnam(getpass.getuser())
EXPECTED = {"head": "10.0.0.1", "a": "10.0.0.2", "b": "10.0.0.3"}


def make_wait(**changes: Any) -> Any:
    params = {
        "unit": "ray.service",
        "command": "/no/ray-nodes",
        "expect": EXPECTED,
        "ports": [],
        "started": False,
        "timeout": 60,
        **changes,
    }
    return ray_waiting.Wait(params, ACCOUNT)


def answer(monkeypatch: pytest.MonkeyPatch, wait: Any, *states: dict[str, str]) -> list[dict[str, str]]:
    """Let systemctl show these states, the last one again and again; return what is left of them."""
    left = list(states)
    monkeypatch.setattr(wait.systemd, "show", lambda: left.pop(0) if len(left) > 1 else left[0])
    return left


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Return the time, which passes only in pauses."""
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    monkeypatch.setattr(time, "sleep", lambda seconds: now.__setitem__(0, now[0] + seconds))
    return now


def test_a_slow_host_has_more_time_to_answer(monkeypatch: pytest.MonkeyPatch, clock: list[float]) -> None:
    """Ray answers after 40 s; calls with a limit of 15 s would fail until the deadline."""
    limits: list[float] = []

    def read_nodes(limit: float) -> dict[str, Any]:
        limits.append(limit)
        clock[0] += min(limit, 40)
        return {"nodes": [{"address": "10.0.0.1", "alive": True}]} if limit >= 40 else {"error": "no answer"}

    wait = make_wait(expect={"head": "10.0.0.1"})
    answer(monkeypatch, wait, {"ActiveState": "active"})
    monkeypatch.setattr(wait, "read_nodes", read_nodes)
    assert wait.await_nodes(300) == ([], "")
    assert limits == [15, 30, 60]


def test_the_limit_reaches_ray_nodes(tmp_path: Path) -> None:
    command = tmp_path / "ray-nodes"
    command.write_text('#!/bin/sh\necho "{\\"error\\": \\"$*\\"}"\n')
    command.chmod(0o755)
    wait = make_wait(command=str(command), expect={"head": "10.0.0.1", "a": "10.0.0.2"})
    assert wait.read_nodes(42.0) == {"error": "--timeout 42 --expect 10.0.0.1,10.0.0.2 --within 2"}


def test_a_host_that_the_head_cannot_connect_to_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    def connect(address: tuple[str, int], timeout: float) -> Any:
        if address == ("10.0.0.2", 6381):
            raise TimeoutError("timed out")
        return socket.socket()

    monkeypatch.setattr(socket, "create_connection", connect)
    expect = {"one": "10.0.0.1", "two": "10.0.0.2"}
    wait = make_wait(expect=expect, ports=[6380, 6381])
    reason = "the head cannot connect to 10.0.0.2:6381 (two): timed out"
    assert wait.find_blocked() == (["two"], reason)
    # Ray lists the node as alive, and then as dead.
    nodes = [{"address": address, "alive": True} for address in expect.values()]
    answers = [{"nodes": nodes}, {"nodes": nodes[:1]}]
    monkeypatch.setattr(wait, "read_nodes", lambda _limit: answers.pop(0) if len(answers) > 1 else answers[0])
    monkeypatch.setattr(ray_waiting, "BLOCKED_SECONDS", 0.1)
    answer(monkeypatch, wait, {"ActiveState": "active"})
    assert (wait.settle(), wait.blocked) == ((["two"], reason), True)
    assert make_wait(expect=expect).find_blocked() == ([], "")


def test_ray_that_ends_again_and_again_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    wait = make_wait()
    wait.restarts = 5
    for state in ("activating", "deactivating", "active"):
        wait.check_running({"ActiveState": state, "NRestarts": "7"})
    with pytest.raises(systemd.UnitError, match=r"ended before its node was alive, 3 times"):
        wait.check_running({"ActiveState": "activating", "NRestarts": "8"})
    wait.check_running({"ActiveState": "failed", "NRestarts": "5", "Job": "12"})
    with pytest.raises(systemd.UnitError, match=r"ray.service is failed \(exit-code\)$"):
        wait.check_running({"ActiveState": "failed", "Result": "exit-code", "NRestarts": "5"})


@pytest.mark.parametrize("started", [True, False])
def test_the_restarts_before_the_wait_count_if_the_unit_was_started_just_now(
    monkeypatch: pytest.MonkeyPatch, started: bool
) -> None:
    wait = make_wait(started=started)
    answer(monkeypatch, wait, {"ActiveState": "active", "NRestarts": "3"})
    monkeypatch.setattr(wait, "read_nodes", lambda _limit: {"nodes": []})
    monkeypatch.setattr(wait, "await_nodes", lambda _deadline: ([], ""))
    if started:
        with pytest.raises(systemd.UnitError, match="3 times"):
            wait.settle()
    else:
        assert wait.settle() == ([], "")


def test_a_unit_that_waits_for_its_start_has_not_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    """After a stop that took too long, the unit is ``failed`` until systemd starts it again."""
    wait = make_wait()
    left = answer(
        monkeypatch, wait, {"ActiveState": "failed", "Result": "timeout", "Job": "7"}, {"ActiveState": "active"}
    )
    assert wait.await_unit(time.monotonic() + 60)
    assert left == [{"ActiveState": "active"}]
    answer(monkeypatch, wait, {"ActiveState": "failed", "Result": "timeout", "Job": "0"})
    with pytest.raises(systemd.UnitError, match=r"ray.service is failed \(timeout\)"):
        wait.await_unit(time.monotonic() + 60)


def test_all_nodes_are_missing_if_the_unit_still_starts(monkeypatch: pytest.MonkeyPatch, clock: list[float]) -> None:
    wait = make_wait(timeout=20)
    answer(monkeypatch, wait, {"ActiveState": "activating", "SubState": "start-pre"})
    assert wait.settle() == (["head", "a", "b"], "")
    assert 20 <= clock[0] < 21


def test_a_wait_for_nodes_is_reported(monkeypatch: pytest.MonkeyPatch, progress_file: Path) -> None:
    alive: list[dict[str, Any]] = [{"address": "10.0.0.1", "alive": True}]
    shown: list[str] = []

    def read_nodes(limit: float) -> dict[str, Any]:
        if progress_file.exists():
            shown.append(json.loads(progress_file.read_text())["text"])
            alive.append({"address": f"10.0.0.{len(alive) + 1}", "alive": True})
        return {"nodes": list(alive)}

    wait = make_wait()
    answer(monkeypatch, wait, {"ActiveState": "active"})
    monkeypatch.setattr(wait, "read_nodes", read_nodes)
    assert wait.settle() == ([], "")
    assert shown == ["waiting for 2 of 3 nodes: a, b", "waiting for 1 of 3 nodes: b"]


def test_missing_nodes() -> None:
    document = {"nodes": [{"address": "1", "alive": True}, {"address": "2", "alive": False}]}
    assert ray_waiting.find_missing(document, {"a": "1", "b": "2", "c": "3"}) == ["b", "c"]
    assert ray_waiting.find_missing({"error": "x"}, {"a": "1"}) == ["a"]
