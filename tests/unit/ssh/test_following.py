"""A command whose output is passed on line by line until it is cancelled."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from flambe_ansible.hosts import Host, Role
from flambe_ansible.ssh import Connections, connections
from flambe_ansible.ssh.processes import Processes

HOST = Host(name="c_factory_0", role=Role.FACTORY, index=0, address="::1")


@pytest.fixture
def local(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Connections:
    """Connections whose only open one leads to a shell of this machine."""
    made = Connections(username="me", key=tmp_path / "key", known_hosts=tmp_path / "known_hosts")
    monkeypatch.setattr(made, "_find_open", lambda host: SimpleNamespace(target=None, socket=None))
    monkeypatch.setattr(connections, "client_argv", lambda _target, _socket, command: ["/bin/sh", "-c", command])
    return made


def test_lines_arrive_until_the_command_is_cancelled(local: Connections) -> None:
    received: list[str] = []
    processes = Processes()
    command = "printf 'one\\ntw'; sleep 0.2; echo o; echo part of a line | tr -d '\\n'; exec sleep 60"
    arguments: dict[str, Any] = {"on_line": received.append, "processes": processes}
    thread = threading.Thread(target=local.follow, args=(HOST, command), kwargs=arguments)
    thread.start()
    deadline = time.monotonic() + 20
    while len(received) < 2 and time.monotonic() < deadline:
        time.sleep(0.02)
    processes.cancel()
    thread.join(10)
    assert (received, thread.is_alive()) == (["one", "two"], False)


def test_a_command_that_ends_or_fails_raises_nothing(local: Connections) -> None:
    received: list[str] = []
    local.follow(HOST, "echo one; exit 255", on_line=received.append, processes=Processes())
    assert received == ["one"]


def test_no_connection_is_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = Connections(username="me", key=tmp_path / "key", known_hosts=tmp_path / "known_hosts")
    monkeypatch.setattr(made, "_connect", lambda *_given, **_options: pytest.fail("a connection was opened"))
    made.follow(HOST, "echo one", on_line=lambda line: pytest.fail(line), processes=Processes())
