"""The main process of the unit, with real processes and a real log."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import supervising


@pytest.fixture
def settings(make_settings: Callable[..., Any], tmp_path: Path) -> Any:
    """Return settings with a ray-nodes that reports all hosts alive."""
    nodes = ", ".join(f'{{"address": "10.0.0.{n}", "alive": true}}' for n in (1, 2, 3))
    script = tmp_path / "ray-nodes"
    script.write_text(f"#!/bin/sh\necho '{{\"nodes\": [{nodes}]}}'\n")
    script.chmod(0o755)
    return make_settings()


def supervise(settings: Any, spec: dict[str, Any], command: str) -> tuple[int, dict[str, Any]]:
    run = supervising.Job(settings, {**spec, "command": ["/bin/bash", "-c", command]})
    code = run.run()
    return code, settings.load("state")


def test_success(settings: Any, spec: dict[str, Any], tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    code, state = supervise(settings, spec, r"printf '\033[1mone\033[0m\ntwo\rthree'; pwd; echo $COLOUR >&2")
    assert (code, state["state"], state["exit_code"], state["reason"]) == (0, "succeeded", 0, "")
    assert state["since"] <= state["until"]
    log = tmp_path / "output.log"
    assert log.read_bytes().startswith(b"\x1b[1mone\x1b[0m\ntwo\rthree")
    assert log.stat().st_mode & 0o777 == 0o600
    assert capfd.readouterr().out.splitlines() == ["one", "two", f"three{tmp_path}", "flambe-run: succeeded"]


def test_the_environment_of_the_job(settings: Any, spec: dict[str, Any], tmp_path: Path) -> None:
    supervise(settings, {**spec, "environment": {"WHO": "a $b %c"}}, 'echo "$WHO"')
    assert (tmp_path / "output.log").read_text().splitlines()[0] == "a $b %c"


@pytest.mark.parametrize(
    ("command", "exit_code", "reason"),
    [
        ("echo Traceback; echo 'a.TagError: no tag'; echo bye; exit 255", 255, "exit code 255: a.TagError: no tag"),
        ("echo only this; exit 3", 3, "exit code 3: only this"),
        ("exit 4", 4, "exit code 4"),
        ("kill -9 $$", -9, "killed by signal 9"),
    ],
)  # fmt: skip
def test_failure(settings: Any, spec: dict[str, Any], command: str, exit_code: int, reason: str) -> None:
    code, state = supervise(settings, spec, command)
    assert (state["state"], state["exit_code"], state["reason"]) == ("failed", exit_code, reason)
    assert code == (exit_code if exit_code > 0 else 1)


def test_a_missing_command(settings: Any, spec: dict[str, Any]) -> None:
    assert supervising.Job(settings, {**spec, "command": ["/no/such/python"]}).run() == 1
    state = settings.load("state")
    assert (state["state"], state["reason"]) == ("failed", "/no/such/python: No such file or directory")


def members(group: int) -> list[str]:
    """Return the live processes of a group; a zombie may exist for a while until init reaps it."""
    listed = subprocess.run(["ps", "-e", "-o", "pgid=,stat=,args="], capture_output=True, text=True, check=True).stdout
    fields = [line.split(None, 2) for line in listed.splitlines()]
    return [one[-1] for one in fields if one[0] == str(group) and not one[1].startswith("Z")]


@pytest.mark.parametrize("command", ["trap '' TERM; echo on; while :; do sleep 0.1; done", "echo on; sleep 60 & wait"])
def test_stop_ends_all_processes(settings: Any, spec: dict[str, Any], tmp_path: Path, command: str) -> None:
    settings.save("request", {"state": "replaced", "reason": "another job was started"})
    run = supervising.Job(settings, {**spec, "command": ["/bin/bash", "-c", f"echo $$; {command}"]})
    codes: list[int] = []
    thread = threading.Thread(target=lambda: codes.append(run.run()))
    thread.start()
    log = tmp_path / "output.log"
    while not (log.exists() and "on\n" in log.read_text()):
        time.sleep(0.05)
    run.stop()
    thread.join(120)
    assert codes == [0]
    state = settings.load("state")
    assert (state["state"], state["reason"]) == ("replaced", "another job was started")
    group = int(log.read_text().split()[0])
    deadline = time.monotonic() + 60
    while members(group) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert members(group) == []


def test_a_verdict_of_the_watch_ends_the_job(
    settings: Any, spec: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def evaluate(self: Any, alive: set[str], error: str, clock: float) -> None:
        assert (alive, error) == ({"10.0.0.1", "10.0.0.2", "10.0.0.3"}, "")
        self.verdict = "all factories are lost: one, two"

    monkeypatch.setattr("watching.Watch.evaluate", evaluate)
    code, state = supervise(settings, spec, "sleep 60")
    assert code == 1
    assert (state["state"], state["reason"]) == ("failed", "all factories are lost: one, two")


def test_the_unit_is_stopped_by_sigterm(settings: Any, spec: dict[str, Any], tmp_path: Path) -> None:
    import json

    settings.save("spec", {**spec, "command": ["/bin/sleep", "60"]})
    path = tmp_path / "settings.json"
    path.write_text(json.dumps(vars(settings)))
    folder = Path(supervising.__file__).parent
    process = subprocess.Popen([sys.executable, "-B", str(folder), "--settings", str(path), "supervise"])
    while settings.load("state").get("state") != "running":
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    assert process.wait(120) == 0
    state = settings.load("state")
    assert (state["state"], state["reason"]) == ("stopped", "the unit was stopped")


def test_a_failure_lists_the_lost_hosts(settings: Any, spec: dict[str, Any], tmp_path: Path) -> None:
    script = tmp_path / "ray-nodes"
    script.write_text('#!/bin/sh\necho \'{"nodes": [{"address": "10.0.0.1", "alive": true}]}\'\n')
    settings.watch_interval = 60
    spec["hosts"] = {**spec["hosts"], "workers": [{"name": "one", "address": "127.0.0.1", "port": 1}]}
    _, state = supervise(settings, spec, "echo 'TuneError: no CPUs'; exit 255")
    assert state["reason"] == "exit code 255: TuneError: no CPUs (lost before: one)"
    assert [(one["name"], one["reason"]) for one in state["lost"]] == [
        ("one", "the host does not answer (Connection refused)")
    ]
