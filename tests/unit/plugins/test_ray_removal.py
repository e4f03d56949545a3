"""Ray that is stopped or removed, with a fake systemctl."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.flambe.cluster.plugins.module_utils import ray_removal, ray_service, systemd

from tests.unit.plugins.test_systemd import Systemctl, make_node, systemctl

__all__ = ["systemctl"]  # the fixture


def make_unit(tmp_path: Path, dry: bool = False) -> Any:
    made = systemd.Systemd("ray.service", dry)
    made.path = str(tmp_path / "ray.service")
    return made


def end(tmp_path: Path, state: str, *, dry: bool = False) -> list[str]:
    unit = make_unit(tmp_path, dry)
    params = {"root": str(tmp_path), "runtime": str(tmp_path / "venv"), "restart": True, "state": state}
    (ray_removal.stop if state == "stopped" else ray_removal.remove)(unit, params)
    actions: list[str] = unit.actions
    return actions


@pytest.fixture
def running(tmp_path: Path, systemctl: Systemctl, monkeypatch: pytest.MonkeyPatch) -> Systemctl:
    """Ray of a head that runs, with all its files."""
    calls: list[str] = []
    monkeypatch.setattr(ray_service, "call_firewall", lambda script, command: calls.append(command) or (0, ""))
    (tmp_path / "venv/lib/python3.7/site-packages").mkdir(parents=True)
    make_node(tmp_path, monkeypatch, firewall=True, address_script="script", allow=["10.0.0.2"]).converge()
    assert calls == ["start"]
    systemctl.run(time.time())
    systemctl.calls.clear()
    return systemctl


def list_files(tmp_path: Path) -> list[str]:
    return sorted(path.name for path in tmp_path.rglob("*") if path.is_file())


def test_a_stopped_ray_keeps_its_files(tmp_path: Path, running: Systemctl) -> None:
    before = list_files(tmp_path)
    assert end(tmp_path, "stopped", dry=True) == ["stop Ray", "disable ray.service"]
    assert running.calls == []
    assert end(tmp_path, "stopped") == ["stop Ray", "disable ray.service"]
    assert (running.calls, list_files(tmp_path)) == (["stop", "reset-failed", "disable"], before)
    running.state = {"ActiveState": "inactive", "UnitFileState": "disabled"}
    assert end(tmp_path, "stopped") == []


def test_a_removed_ray_leaves_only_the_environment(tmp_path: Path, running: Systemctl) -> None:
    before = list_files(tmp_path)
    planned = end(tmp_path, "absent", dry=True)
    assert (running.calls, list_files(tmp_path)) == ([], before)
    assert end(tmp_path, "absent") == planned
    assert planned[:3] == ["stop Ray", "disable ray.service", "remove ray.service"]
    assert list_files(tmp_path) == []
    assert (tmp_path / "venv/lib/python3.7/site-packages").is_dir()
    assert running.calls == ["stop", "reset-failed", "disable", "disable", "daemon-reload"]
    running.state = {"ActiveState": "inactive", "UnitFileState": ""}
    assert end(tmp_path, "absent") == []


def test_a_ray_that_must_not_be_restarted_is_not_stopped(tmp_path: Path, running: Systemctl) -> None:
    with pytest.raises(systemd.ProtectedError) as caught:
        ray_removal.stop(make_unit(tmp_path), {"restart": False, "state": "stopped"})
    assert str(caught.value) == "ray.service is running and would be stopped: ray_node_state is stopped"
    assert running.calls == []
