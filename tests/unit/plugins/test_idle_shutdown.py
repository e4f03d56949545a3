"""The module idle_shutdown: its files, units and timer, with a fake systemctl."""

from __future__ import annotations

import getpass
import json
import pwd
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.flambe.cluster.plugins.module_utils import idle_shutdown, systemd

from flambe_ansible.ec2 import guard

ACCOUNT = pwd.getpwnam(getpass.getuser())


class Host:
    """A host with its units in a folder: which of them are active, and the commands that changed them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.active: set[str] = set()
        self.calls: list[tuple[str, ...]] = []

    def call(self, unit: Any, *argv: str, check: bool = True) -> str:
        if argv[0] == "show":
            state = "active" if argv[-1] in self.active else "inactive"
            return f"ActiveState={state}\nUnitFileState=enabled\nNeedDaemonReload=no\n"
        self.calls.append(argv)
        if argv[0] == "restart":
            self.active.add(argv[-1])
        if argv[0] == "disable":
            self.active.discard(argv[-1])
        return ""

    def converge(self, *, dry: bool = False, **changes: Any) -> list[str]:
        actions: list[str] = self.make(dry=dry, **changes).actions
        return actions

    def make(self, *, dry: bool = False, **changes: Any) -> Any:
        params = {
            "state": "present",
            "root": str(self.folder / "root"),
            "python": "/usr/bin/python3",
            "interval": 60.0,
            "files": {"__main__.py": "pass\n"},
            "settings": {"timeout": 300, "command": "echo '$x'"},
            **changes,
        }
        made = idle_shutdown.IdleShutdown(params, ACCOUNT, dry)
        for unit in (made.service, made.timer, made.guard):
            unit.path = str(self.folder / unit.unit)
        made.converge()
        return made


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    made = Host(tmp_path)
    monkeypatch.setattr(systemd.Systemd, "call", lambda unit, *argv, **options: made.call(unit, *argv, **options))
    monkeypatch.setattr(idle_shutdown, "FOLDER", str(tmp_path / "state"))
    return made


def test_the_timer_is_installed_once(host: Host) -> None:
    planned = host.converge(dry=True)
    assert [path.name for path in host.folder.iterdir()] == []
    assert host.converge() == planned
    assert idle_shutdown.TIMER in host.active
    settings = json.loads((host.folder / "root/settings.json").read_text())
    assert settings == {
        "timeout": 300,
        "command": "echo '$x'",
        "user": ACCOUNT.pw_name,
        "folder": str(host.folder / "state"),
        "interval": 60.0,
        "program": f"{host.folder}/root/bin/idle-shutdown",
    }
    assert "OnUnitActiveSec=60\n" in (host.folder / idle_shutdown.TIMER).read_text()
    unit = (host.folder / idle_shutdown.SERVICE).read_text()
    assert f"--settings {host.folder}/root/settings.json check\n" in unit
    assert "User=root\n" in unit
    host.calls.clear()
    assert host.converge() == host.converge(dry=True) == []
    assert host.calls == []


def test_changes_reach_the_timer(host: Host) -> None:
    host.converge()
    assert host.converge(settings={"timeout": -1}) == [f"write {host.folder}/root/settings.json"]
    assert host.converge(settings={"timeout": -1}, interval=5.0)[-1] == f"start {idle_shutdown.TIMER}"
    host.active.clear()
    assert host.converge(settings={"timeout": -1}, interval=5.0) == [f"start {idle_shutdown.TIMER}"]


def test_absent_removes_everything(host: Host) -> None:
    assert host.converge(state="absent") == []
    host.converge()
    (host.folder / "state").mkdir()
    planned = host.converge(state="absent", dry=True)
    assert host.converge(state="absent") == planned
    assert [path.name for path in host.folder.iterdir()] == []
    assert ("disable", "--now", "--quiet", idle_shutdown.TIMER) in host.calls
    assert host.converge(state="absent") == []


@pytest.mark.parametrize("state", ["present", "absent"])
def test_the_guard_of_new_hosts_is_removed(host: Host, state: str) -> None:
    assert (f"{guard.UNIT}.timer", guard.ROLE_TIMER) == (idle_shutdown.GUARD, idle_shutdown.TIMER)
    timer = host.folder / idle_shutdown.GUARD
    timer.touch()
    assert f"remove {idle_shutdown.GUARD}" in host.converge(state=state)
    assert not timer.exists()
    assert ("disable", "--now", "--quiet", idle_shutdown.GUARD) in host.calls


def test_the_diffs_of_both_units_are_shown(host: Host) -> None:
    made = host.make(dry=True)
    assert [one["after_header"] for one in made.diff] == [made.service.path, made.timer.path]
    host.make()
    [diff] = host.make(interval=30.0).diff
    assert (diff["after_header"], "OnUnitActiveSec=30\n" in diff["after"]) == (made.timer.path, True)
    assert host.make(interval=30.0).diff == []
