"""Make the program of role idle_shutdown importable, as on a host; a host without anything that keeps it busy."""

from __future__ import annotations

import getpass
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from flambe_ansible.paths import collection

sys.path.insert(0, str(collection() / "roles/idle_shutdown/files"))

from flambe_idle_shutdown import processes, settings, signals, states, usage

BOOT = "boot-1"


@pytest.fixture
def make_settings(tmp_path: Path) -> Callable[..., Any]:
    """Return a function that makes the settings of a host without Ray; keyword arguments change them."""

    def make(**changes: Any) -> Any:
        values = {
            "user": getpass.getuser(),
            "folder": str(tmp_path),
            "timeout": 300,
            "ends_at": "",
            "interval": 60,
            "units": [],
            "ray_unit": "flambe-ray.service",
            "dashboard": "",
            "token": "~/.ray/auth_token",
            "reservation": str(tmp_path / "lock/flambe-cluster.lock"),
            "head": "",
            "patience": 3600,
            "key": "~/key.pem",
            "program": "/opt/flambe-idle-shutdown/bin/idle-shutdown",
            "cpu_percent": 30,
            "gpu_percent": 5,
            "nvidia_smi": "nvidia-smi",
            "command": "",
            "command_timeout": 5,
            "alarm_percent": 0,
            **changes,
        }
        return settings.Settings(values)

    return make


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """Return a host without work whose clock, processes and CPU use a test sets; ``commands`` are those it ran."""
    made = SimpleNamespace(
        now=1_000_000.0,
        clock=1000.0,
        boot=BOOT,
        started=999_000.0,
        used=0.0,
        titles={},
        commands=[],
        units={},
        answers={},
    )

    def run(argv: list[str], **_options: Any) -> tuple[int, str, str]:
        made.commands.append(argv)
        if argv[0] == "systemctl" and argv[1] == "show":
            return 0, made.units.get(argv[-1], "inactive") + "\n", ""
        answer = made.answers.get(argv[0], (0, "", ""))
        if isinstance(answer, Exception):
            raise answer
        return answer(argv) if callable(answer) else answer

    def read_all() -> list[Any]:
        return [SimpleNamespace(title=title, age=age, cpu=0.0) for title, age in made.titles.items()]

    from flambe_idle_shutdown import checking

    monkeypatch.setattr(time, "time", lambda: made.now)
    monkeypatch.setattr(time, "clock_gettime", lambda _clock: made.clock)
    monkeypatch.setattr(states, "read_boot", lambda: made.boot)
    monkeypatch.setattr(states, "read_start", lambda: made.started)
    monkeypatch.setattr(processes, "read_all", read_all)
    monkeypatch.setattr(usage, "measure", lambda _running: {"clock": made.clock, "used": made.used, "own": 0.0})
    monkeypatch.setattr(usage, "has_gpu", lambda: False)
    monkeypatch.setattr(checking, "note_own_cpu", lambda *_: None)
    for module in (signals, usage, checking):
        monkeypatch.setattr(module, "run", run)
    return made
