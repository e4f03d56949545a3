"""When a host counts as idle, when it ends, and what a postponement changes."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from flambe_idle_shutdown import checking, marking, signals, states
from flambe_idle_shutdown.settings import SignalError

POWEROFF = ["systemctl", "poweroff"]


def check(host: SimpleNamespace, settings: Any, *, after: float = 60) -> dict[str, Any]:
    host.now += after
    host.clock += after
    found: dict[str, Any] = states.publish(checking.check(settings))
    return found


def has_ended(host: SimpleNamespace) -> bool:
    return POWEROFF in host.commands


@pytest.fixture
def idle(host: SimpleNamespace, make_settings: Callable[..., Any]) -> Any:
    """Return the settings of a host that is idle since its latest check."""
    settings = make_settings()
    [first] = check(host, settings)["busy"]  # of a boot or of an installation
    assert first == {"signal": "cpu", "reason": "the CPU use is not known before the second check"}
    assert (check(host, settings)["busy"], has_ended(host)) == ([], False)
    return settings


def test_an_idle_host_ends_at_its_time(host: SimpleNamespace, idle: Any) -> None:
    began = states.load(idle)["idle_since"]
    for _minute in range(4):
        state = check(host, idle)
        assert (state["idle_since"], state["ends"]) == (states.write_time(began), states.write_time(began + 300))
        assert not has_ended(host)
    check(host, idle)
    assert has_ended(host)


def test_a_host_with_timeout_minus_one_never_ends(host: SimpleNamespace, make_settings: Callable[..., Any]) -> None:
    settings = make_settings(timeout=-1)
    for _minute in range(10):
        state = check(host, settings)
    assert (state["ends"], bool(state["idle_since"])) == ("", True)
    assert not has_ended(host)


@pytest.mark.parametrize(
    ("title", "reason"),
    [
        ("sshd: ann@pts/0", "SSH connection of ann"),
        ("sshd: ann", "SSH connection of ann"),
        ("sshd-session: ann@notty", "SSH connection of ann"),
        ("/usr/bin/ssm-session-worker x", "session of ssm-session-worker"),
        ("ray::train", "Ray runs ray::train"),
        ("ray::Trainer.step", "Ray runs ray::Trainer.step"),
        ("ray_worker:train()", "Ray runs ray_worker:train()"),
        ("ray_Trainer", "Ray runs ray_Trainer"),
    ],
)
def test_processes_keep_a_host(host: SimpleNamespace, idle: Any, title: str, reason: str) -> None:
    host.titles = {title: 20.0}
    state = check(host, idle)
    assert ([one["reason"] for one in state["busy"]], state["idle_since"], state["ends"]) == ([reason], "", "")


@pytest.mark.parametrize(
    "title",
    [
        "sshd: /usr/sbin/sshd -D [listener] 0 of 10-100 startups",
        "sshd: root [priv]",
        "sshd: unknown [net]",
        "ray::IDLE",
        "ray::IDLE_SpillWorker",
        "ray::DashboardAgent",
        "ray::RuntimeEnvAgent",
        "ray_worker",
        "ray-dashboard-JobHead-0 (python)",
        "/opt/ray/venv/bin/python ray_nodes.py",
    ],
)
def test_processes_that_do_not_keep_a_host(host: SimpleNamespace, idle: Any, title: str) -> None:
    host.titles = {title: 20.0}
    assert check(host, idle)["busy"] == []


def test_a_young_connection_neither_restarts_the_time_nor_is_cut(host: SimpleNamespace, idle: Any) -> None:
    host.titles = {"sshd: ann@pts/0": 5.0}
    for _minute in range(6):
        assert check(host, idle)["busy"] == []
    assert not has_ended(host)
    host.titles = {}
    check(host, idle)
    assert has_ended(host)


def test_cpu_use_keeps_a_host(host: SimpleNamespace, idle: Any) -> None:
    host.used += 60 * 0.31
    assert check(host, idle)["busy"] == [{"signal": "cpu", "reason": "CPU use is 31 % of one CPU"}]
    host.used += 60 * 0.29
    assert check(host, idle)["busy"] == []


def test_a_late_check_restarts_the_time(host: SimpleNamespace, idle: Any) -> None:
    state = check(host, idle, after=400)
    assert state["busy"] == [{"signal": "cpu", "reason": "the last check was 400 s ago"}]
    assert not has_ended(host)


def test_a_reboot_counts_as_activity(host: SimpleNamespace, idle: Any) -> None:
    marking.keep(idle, 7200)
    kept = states.load(idle)["kept"]
    host.boot, host.clock = "boot-2", 10.0
    state = check(host, idle, after=600)
    assert (state["busy"][0]["signal"], state["idle_since"]) == ("cpu", "")
    assert state["kept_until"] == states.write_time(kept)


def test_a_restart_of_a_container_is_a_reboot() -> None:
    assert states.read_boot() == states.read_boot()
    kernel, _, started = states.read_boot().partition(" ")
    assert len(kernel) == 36
    assert started.isdigit()


def test_an_active_job_keeps_a_host(host: SimpleNamespace, make_settings: Callable[..., Any]) -> None:
    settings = make_settings(units=["flambe-run.service"])
    check(host, settings)
    for state in ("active", "activating", "deactivating", "reloading"):
        host.units = {"flambe-run.service": state}
        assert check(host, settings)["busy"] == [{"signal": "job", "reason": f"flambe-run.service is {state}"}]
    for state in ("inactive", "failed"):
        host.units = {"flambe-run.service": state}
        assert check(host, settings)["busy"] == []


@pytest.mark.parametrize("content", ["", "{", "[]", '{"checked": 1}', '{"checked": "x"}', "\0"])
def test_a_malformed_state_counts_as_busy(host: SimpleNamespace, idle: Any, tmp_path: Path, content: str) -> None:
    (tmp_path / "state.json").write_text(content)
    assert check(host, idle)["busy"][0]["signal"] == "cpu"
    assert check(host, idle)["busy"] == []


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("find_ray_work", TypeError("no title")),
        ("find_launch", PermissionError("denied")),
        ("ask_command", SignalError("late")),
    ],
)
def test_a_signal_that_cannot_be_read_counts_as_busy(
    host: SimpleNamespace, idle: Any, monkeypatch: pytest.MonkeyPatch, name: str, error: Exception
) -> None:
    def fail(*_arguments: Any) -> None:
        raise error

    monkeypatch.setattr(signals, name, fail)
    [reason] = check(host, idle)["busy"]
    assert str(error) in reason["reason"]


def test_keep_postpones_the_end(host: SimpleNamespace, idle: Any) -> None:
    state = states.publish(marking.keep(idle, 3600))
    assert state["kept_until"] == state["ends"] == states.write_time(host.now + 3600)
    for _minute in range(59):
        check(host, idle)
    assert not has_ended(host)
    state = check(host, idle)
    assert (state["kept_until"], has_ended(host)) == ("", True)


def test_keep_during_the_last_check_counts(host: SimpleNamespace, idle: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for _minute in range(4):
        check(host, idle)
    monkeypatch.setattr(signals, "ask_head", lambda settings: marking.keep(settings, 600) and [])
    check(host, idle)
    assert not has_ended(host)


def test_keep_zero_ends_a_postponement(host: SimpleNamespace, idle: Any) -> None:
    marking.keep(idle, 3600)
    marking.keep(idle, 0)
    for _minute in range(5):
        check(host, idle)
    assert has_ended(host)


def test_a_launch_restarts_the_time(host: SimpleNamespace, idle: Any) -> None:
    for _minute in range(4):
        check(host, idle)
    host.now += 30
    host.clock += 30
    state = states.publish(marking.restart(idle))
    assert (state["busy"][0]["signal"], state["idle_since"], state["ends"]) == ("launch", "", "")
    began = check(host, idle, after=30)["idle_since"]
    assert began == states.write_time(host.now)
    assert not has_ended(host)


def test_keep_before_the_first_check(host: SimpleNamespace, make_settings: Callable[..., Any]) -> None:
    settings = make_settings()
    state = states.publish(marking.keep(settings, 60))
    assert state["busy"] == [{"signal": "check", "reason": "this host was not checked yet"}]
    assert check(host, settings, after=1)["kept_until"] == state["kept_until"]


class Head:
    """The orchestrator's answers to the last question of a factory."""

    def __init__(self, host: SimpleNamespace, make_settings: Callable[..., Any], answer: Any) -> None:
        self.settings = make_settings(head="10.0.0.4")
        host.answers["setpriv"] = answer
        for _minute in range(6):
            check(host, self.settings)
        assert not [argv for argv in host.commands if "ssh" in argv]  # it is not asked before
        self.state = check(host, self.settings)
        [argv] = [argv for argv in host.commands if "ssh" in argv]
        assert argv[-2].endswith("@10.0.0.4")
        assert argv[-1] == "/opt/flambe-idle-shutdown/bin/idle-shutdown show"


def answer(*signals: str, age: float = 10) -> tuple[int, str, str]:
    busy = [{"signal": one, "reason": f"{one} is there"} for one in signals]
    return 0, "Welcome!\n" + json.dumps({"age": age, "interval": 60, "busy": busy}) + "\n", ""


@pytest.mark.parametrize("signal", ["job", "ray", "launch"])
def test_a_job_on_the_orchestrator_keeps_a_factory(
    host: SimpleNamespace, make_settings: Callable[..., Any], signal: str
) -> None:
    head = Head(host, make_settings, answer(signal))
    assert head.state["busy"] == [{"signal": "cluster", "reason": f"orchestrator: {signal} is there"}]
    assert (head.state["idle_since"], has_ended(host)) == ("", False)


@pytest.mark.parametrize("signal", ["ssh", "cpu", "gpu", "command"])
def test_other_work_of_the_orchestrator_does_not_keep_a_factory(
    host: SimpleNamespace, make_settings: Callable[..., Any], signal: str
) -> None:
    Head(host, make_settings, answer(signal))
    assert has_ended(host)


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ((255, "", "ssh: connect: timed out\n"), "the orchestrator does not answer: ssh: connect: timed out"),
        (answer(age=1000), "the last check of the orchestrator is late: it was 1000 s ago"),
        ((0, "nonsense", ""), "malformed answer"),
        ((0, "{}", ""), "malformed answer"),
        (SignalError("setpriv: no answer within 20 s"), "no answer within 20 s"),
    ],
)
def test_an_orchestrator_without_an_answer_is_waited_for(
    host: SimpleNamespace, make_settings: Callable[..., Any], given: Any, reason: str
) -> None:
    head = Head(host, make_settings, given)
    assert reason in head.state["busy"][0]["reason"]
    assert head.state["ends"] == states.write_time(host.now + 3600)
    for _minute in range(59):
        check(host, head.settings)
    assert not has_ended(host)
    check(host, head.settings)
    assert has_ended(host)


def test_a_busy_host_stays_above_the_threshold_of_the_alarm(
    host: SimpleNamespace, make_settings: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = make_settings(alarm_percent=0.1, command="true", interval=1)
    wanted = 2 * 0.001 * (os.cpu_count() or 1)  # seconds for each second
    monkeypatch.setattr(os, "nice", lambda _by: 0)
    monkeypatch.setattr(checking.time, "process_time", iter([0.0, *(wanted / 2 for _ in range(3)), wanted]).__next__)
    check(host, settings, after=1)
    with pytest.raises(StopIteration):
        checking.time.process_time()


@pytest.mark.parametrize("changes", [{"alarm_percent": 0}, {"alarm_percent": 0.1, "timeout": -1}])
def test_without_an_alarm_no_cpu_is_used_for_it(
    host: SimpleNamespace, make_settings: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any]
) -> None:
    monkeypatch.setattr(os, "nice", lambda _by: pytest.fail("it uses CPU"))
    check(host, make_settings(**changes))
