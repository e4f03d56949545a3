"""Ansible's events are converted to steps and failures; these events were recorded with ansible-runner."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from flambe_ansible.errors import TaskFailure
from flambe_ansible.events import Activity, Observer, StepEvent
from flambe_ansible.playbook_events import HostResult, Recorder, RoleResult, read_failure

Event = dict[str, Any]


def event(kind: str, host: str, role: str, task: str = "T", *, stdout: str = "", **data: Any) -> Event:
    common = {"host": host, "role": role, "task": task, "play": "Cluster", "task_action": "ansible.builtin.command"}
    return {"event": kind, "stdout": stdout, "event_data": {**common, **data}}


def start(host: str, role: str, task: str = "T") -> Event:
    return event("runner_on_start", host, role, task)


def ok(host: str, role: str, task: str = "T", **data: Any) -> Event:
    return event("runner_on_ok", host, role, task, **{"res": {"changed": False}, **data})


def changed(host: str, role: str, task: str = "T", **data: Any) -> Event:
    return event("runner_on_ok", host, role, task, **{"res": {"changed": True}, **data})


def stats(**counts: Mapping[str, int]) -> Event:
    return {"event": "playbook_on_stats", "stdout": "", "event_data": {"processed": {"a": 1}, **counts}}


def failed(host: str, role: str, task: str = "T", **data: Any) -> Event:
    return event("runner_on_failed", host, role, task, **{"res": {"msg": "no", "rc": 1}, **data})


OWN = {"task_action": "flambe.cluster.unit", "res": {"changed": True, "msg": "restarted the unit\n"}}
CENSORED: dict[str, Any] = {"res": {"censored": "the output has been hidden"}}


@pytest.mark.parametrize(
    ("events", "steps"),
    [
        ([start("a", "flambe"), ok("a", "flambe"), stats()], ["flambe running T", "flambe ok"]),
        ([start("a", "x.y.flambe"), ok("a", "x.y.flambe"), stats()], ["flambe running T", "flambe ok"]),
        ([start("a", ""), ok("a", ""), stats()], ["Cluster running T", "Cluster ok"]),
        (
            [start("a", "one", "A"), changed("a", "one", "A"), start("a", "two", "B"), ok("a", "two", "B"), stats()],
            ["one running A", "one changed A", "two running B", "two ok"],
        ),
        (
            [
                start("a", "one", "A"),
                changed("a", "one", "A"),
                start("a", "one", "B"),
                changed("a", "one", "B"),
                stats(),
            ],
            ["one running A", "one running B", "one changed A; B"],
        ),
        ([start("a", "one"), changed("a", "one", **OWN), stats()], ["one running T", "one changed restarted the unit"]),
        (
            [start("a", "one"), event("runner_on_ok", "a", "one", stdout="changed: [a]", **CENSORED), stats()],
            ["one running T", "one changed T"],
        ),
        (
            [start("a", "one"), event("runner_on_ok", "a", "one", stdout="ok: [a]", **CENSORED), stats()],
            ["one running T", "one ok"],
        ),
        ([start("a", "one"), event("runner_on_skipped", "a", "one"), stats()], ["one running T", "one skipped"]),
        (
            [start("a", "one"), failed("a", "one"), stats(failures={"a": 1})],
            ["one running T", "one failed no"],
        ),
        ([start("a", "one"), failed("a", "one", ignore_errors=True), stats()], ["one running T", "one ok"]),
        (
            [start("a", "one", "A"), failed("a", "one", "A"), start("a", "one", "B"), ok("a", "one", "B"), stats()],
            ["one running A", "one failed no", "one running B", "one ok"],
        ),
        (
            [
                event("runner_on_unreachable", "a", "one", res={"msg": "gone", "unreachable": True}),
                stats(dark={"a": 1}),
            ],
            ["one running T", "one failed gone"],
        ),
    ],
)
def test_steps(events: list[Event], steps: list[str]) -> None:
    received: list[StepEvent] = []
    recorder = Recorder(keep_steps(received))
    for item in events:
        recorder.handle(item)
    recorder.finish()
    assert [f"{step.step} {step.status.value} {step.detail}".strip() for step in received] == steps
    assert {step.host for step in received} == {"a"}


def test_the_end_of_a_task_is_reported() -> None:
    received: list[object] = []
    recorder = Recorder(received.append)
    for item in (start("a", "one"), ok("a", "one")):
        recorder.handle(item)
    assert received[1:] == [Activity(host="a", text="")]


def test_seconds_end_with_the_last_task() -> None:
    received: list[StepEvent] = []
    recorder = Recorder(keep_steps(received), clock=ticking())
    for item in (start("a", "one"), ok("a", "one"), start("b", "one"), start("a", "two"), ok("a", "two")):
        recorder.handle(item)
    recorder.finish()
    ended = {(step.host, step.step): step.seconds for step in received if step.seconds is not None}
    assert ended == {("a", "one"): 1.0, ("b", "one"): 0.0, ("a", "two"): 1.0}


def test_results() -> None:
    recorder = Recorder(clock=ticking())
    for item in (start("a", "one", "A"), changed("a", "one", "A"), stats(ok={"a": 1}, changed={"a": 1})):
        recorder.handle(item)
    role = RoleResult(status=recorder.results()["a"].roles["one"].status, seconds=1.0, details=("A",))
    assert recorder.results() == {"a": HostResult(host="a", ok=1, changed=1, roles={"one": role})}
    assert recorder.failures() == []


@pytest.mark.parametrize(
    ("recap", "hosts"),
    [(stats(failures={"a": 1}), ["a"]), (stats(failures={}, rescued={"a": 1}), []), (None, ["a"])],
    ids=["failed", "rescued", "killed before the recap"],
)
def test_only_failures_that_were_not_rescued_count(recap: Event | None, hosts: list[str]) -> None:
    recorder = Recorder()
    for item in filter(None, [start("a", "one"), failed("a", "one"), recap]):
        recorder.handle(item)
    assert [failure.host for failure in recorder.failures()] == hosts


@pytest.mark.parametrize(
    ("result", "expected"),
    [
        (
            {"msg": "non-zero return code", "cmd": ["sh", "-c", "x"], "rc": 7, "stdout": "out", "stderr": "err"},
            {"message": "non-zero return code", "command": "sh -c x", "returncode": 7, "output": "out\nerr"},
        ),
        (
            {
                "msg": "One or more items failed",
                "results": [{"rc": 0}, {"failed": True, "rc": 3, "msg": "no", "cmd": "y"}],
            },
            {"message": "no", "command": "y", "returncode": 3, "output": ""},
        ),
        (
            {"censored": "the output has been hidden", "changed": True},
            {"message": "failed; its output is hidden, because it may contain secrets (no_log)"},
        ),
        (
            {"msg": "MODULE FAILURE", "module_stdout": "", "module_stderr": "Killed", "rc": 137},
            {"message": "MODULE FAILURE", "returncode": 137, "output": "Killed"},
        ),
        (
            {
                "msg": "setup command 2 failed\nsorry",
                "command": "false",
                "rc": 1,
                "output": "sorry",
                "exception": "(traceback unavailable)",
            },
            {"message": "setup command 2 failed", "command": "false", "returncode": 1, "output": "sorry"},
        ),
        (
            {"msg": "Ray does not run here: it failed\nline 2\nline 3", "output": "line 1\nline 2\nline 3\n"},
            {"message": "Ray does not run here: it failed", "output": "line 1\nline 2\nline 3"},
        ),
        ({"msg": "why", "output": "first\nwhy"}, {"message": "why", "output": "first\nwhy"}),
        ({"msg": "x", "exception": "(traceback unavailable)"}, {"message": "x"}),
        ({"msg": "x", "exception": "Traceback:\nboom"}, {"message": "x", "output": "Traceback:\nboom"}),
        (
            {"msg": "x", "stdout": "\n".join(map(str, range(99)))},
            {"message": "x", "output": "\n".join(map(str, range(69, 99)))},
        ),
        ({}, {"message": ""}),
    ],
)
def test_read_failure(result: dict[str, Any], expected: dict[str, Any]) -> None:
    data = {"host": "a", "role": "flambe.cluster.setup_cmds", "task": "Run", "res": result}
    expected_failure = TaskFailure(**{"host": "a", "role": "setup_cmds", "task": "Run", **expected})
    assert read_failure(data) == expected_failure


def keep_steps(received: list[StepEvent]) -> Observer:
    """Make an observer that keeps the events of steps."""
    return lambda item: received.append(item) if isinstance(item, StepEvent) else None


def ticking() -> Callable[[], float]:
    """Make a clock that advances by a second at each call."""
    times = iter(range(1000))
    return lambda: float(next(times))
