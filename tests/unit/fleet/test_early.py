"""Connections that start before the cluster's file is read."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from flambe_ansible.fleet import early, records
from flambe_ansible.hosts import Host, Role
from flambe_ansible.ssh import Connections, Patience

HOST = Host(name="c_orchestrator", role=Role.ORCHESTRATOR, address="10.0.0.1", instance_id="i-1")


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FLAMBE_ANS_STATE", str(tmp_path / "state"))
    found = tmp_path / "cluster.yaml"
    found.write_text("!LabCluster\nname: c\n")
    return found


@pytest.fixture
def recorded(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Connections, list[Host]]:
    """Record connections of the file; return them, and the hosts to which connections are started from now on."""
    found: list[Host] = []
    monkeypatch.setattr(Connections, "connect_early", lambda _self, hosts: found.extend(hosts))
    folder = tmp_path / "state/clusters/c-1"
    folder.mkdir(parents=True)
    records.write_reached(folder, [HOST], silent=())
    used = Connections(
        username="me",
        key=tmp_path / "key",
        known_hosts=folder / "known_hosts",
        proxy_jump="none",
        answer=Patience(seconds=7),
    )
    early.record(str(file), used)
    return used, found


def test_the_next_command_connects_in_the_same_way(file: Path, recorded: tuple[Connections, list[Host]]) -> None:
    used, asked = recorded
    started = early.connect(str(file))
    assert started
    assert asked == [HOST]
    for name in ("username", "key", "known_hosts", "proxy_jump"):
        assert getattr(started, name) == getattr(used, name)
    assert started.answer.seconds == 7
    [record] = (file.parent / "state" / early.FOLDER).iterdir()
    assert record.stat().st_mode & 0o777 == 0o600


def _change(file: Path) -> None:
    file.write_text("!LabCluster\nname: other\n")


def _damage(file: Path) -> None:
    [record] = (file.parent / "state" / early.FOLDER).iterdir()
    record.write_text("{")


def _renew(file: Path) -> None:
    [record] = (file.parent / "state" / early.FOLDER).iterdir()
    record.write_text(json.dumps({"version": 2}))


@pytest.mark.parametrize("change", [_change, _damage, _renew, Path.unlink])
def test_nothing_is_started_after_a_change(
    file: Path, recorded: tuple[Connections, list[Host]], change: Callable[[Path], None]
) -> None:
    change(file)
    assert early.connect(str(file)) is None
    assert recorded[1] == []


def test_a_record_of_another_version_is_kept(file: Path, recorded: tuple[Connections, list[Host]]) -> None:
    _renew(file)
    early.record(str(file), recorded[0])
    [record] = (file.parent / "state" / early.FOLDER).iterdir()
    assert json.loads(record.read_text()) == {"version": 2}


def test_a_pipe_is_not_read(file: Path, recorded: tuple[Connections, list[Host]]) -> None:
    """``flambe-ans status <(make-cluster)``: what is read here would be missing later."""
    reading, writing = os.pipe()
    with os.fdopen(reading), os.fdopen(writing, "w") as pipe:
        pipe.write(file.read_text())
        pipe.flush()
        path = f"/dev/fd/{reading}"
        early.record(path, recorded[0])
        assert early.connect(path) is None
        assert os.read(reading, 100).decode() == file.read_text()
