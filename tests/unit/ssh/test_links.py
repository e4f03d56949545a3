"""Fan-outs on one object do not disturb each other; tunnels and refused keys are typed errors."""

from __future__ import annotations

import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import create_autospec

import pytest

from flambe_ansible.errors import (
    BastionKeyError,
    CancelledError,
    HostConnectionError,
    HostKeyError,
    RemoteCommandError,
    RevokedKeyError,
)
from flambe_ansible.events import Event, Notice
from flambe_ansible.hosts import Host, Role
from flambe_ansible.ssh import Connections, Patience, routes, waiting
from flambe_ansible.ssh.masters import Diagnosis, Failure
from flambe_ansible.ssh.messages import explain

ONE, TWO = (Host(name=f"c_factory_{index}", role=Role.FACTORY, index=index, address="::1") for index in range(2))


@pytest.fixture
def connections(tmp_path: Path) -> Iterator[Connections]:
    with Connections(username="me", key=tmp_path / "key", known_hosts=tmp_path / "known_hosts") as made:
        yield made


def test_the_end_of_one_fan_out_does_not_reset_the_cancellation_of_another(connections: Connections) -> None:
    def work(_host: Host) -> None:
        connections._cancel()
        connections._on_each([TWO], lambda host: host.name)
        assert connections._stop.is_set()
        connections._processes.run(["true"])

    with pytest.raises(CancelledError):
        connections._on_each([ONE], work)
    assert not connections._stop.is_set()
    assert connections._processes.run(["true"]).returncode == 0


def test_closing_cancels_the_work_of_a_fan_out(connections: Connections) -> None:
    def work(_host: Host) -> None:
        connections.close()
        connections._processes.run(["true"])

    with pytest.raises(CancelledError):
        connections._on_each([ONE], work)
    assert connections._processes.run(["true"]).returncode == 0


def test_a_failed_wait_does_not_stop_another(connections: Connections, monkeypatch: pytest.MonkeyPatch) -> None:
    failed = threading.Event()
    stopped: dict[str, bool] = {}

    def connect(host: Host, *, stop: threading.Event, **_: Any) -> None:
        if host is ONE:
            raise HostConnectionError("no", host=host.name)
        failed.wait(10)
        stopped[host.name] = stop.is_set()

    monkeypatch.setattr(connections, "_connect", connect)
    other = threading.Thread(target=connections.wait, args=([TWO],))
    other.start()
    with pytest.raises(HostConnectionError):
        connections.wait([ONE])
    failed.set()
    other.join()
    assert stopped == {TWO.name: False}


def test_wait_each_goes_on_without_the_hosts_that_fail(
    connections: Connections, monkeypatch: pytest.MonkeyPatch
) -> None:
    connected: list[str] = []
    failed = threading.Event()

    def connect(host: Host, *, stop: threading.Event, **_: Any) -> None:
        if host is ONE:
            failed.set()
            raise HostConnectionError("no", host=host.name)
        assert failed.wait(10)
        assert not stop.is_set()
        connected.append(host.name)

    monkeypatch.setattr(connections, "_connect", connect)
    errors = connections.wait_each([ONE, TWO], patience=lambda _host: Patience(seconds=10))
    assert {name: error.message for name, error in errors.items()} == {ONE.name: "no"}
    assert connected == [TWO.name]


def test_a_tunnel_that_hangs_is_a_typed_error(connections: Connections, monkeypatch: pytest.MonkeyPatch) -> None:
    def hang(argv: Sequence[str], *, timeout: float) -> None:
        raise subprocess.TimeoutExpired(argv, timeout)

    monkeypatch.setattr(connections, "_master", lambda _host: SimpleNamespace(socket=Path("/nonexistent")))
    monkeypatch.setattr(connections, "_processes", SimpleNamespace(run=hang, cancel=lambda: None, reset=lambda: None))
    with (
        pytest.raises(HostConnectionError, match="local port 1234 took longer than 30 s"),
        connections.tunnel(ONE, 22, local_port=1234),
    ):
        pass


def test_a_tunnel_that_hangs_when_it_is_closed_is_killed(
    connections: Connections, monkeypatch: pytest.MonkeyPatch
) -> None:
    def hang(argv: Sequence[str], **_: Any) -> None:
        raise subprocess.TimeoutExpired(argv, 10)

    monkeypatch.setattr(connections, "_master", lambda _host: SimpleNamespace(socket=Path("/nonexistent")))
    monkeypatch.setattr(connections._processes, "run", lambda *_, **__: SimpleNamespace(returncode=0))
    monkeypatch.setattr(subprocess, "run", hang)
    with connections.tunnel(ONE, 22, local_port=1234) as port:
        assert port == 1234


@pytest.mark.parametrize(("jump", "used"), [(None, True), ("none", False)])
def test_none_is_a_direct_connection_in_spite_of_a_jump_host_in_the_users_configuration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, jump: str | None, used: bool
) -> None:
    answer = "proxyjump me@bastion.example\n"
    monkeypatch.setattr(routes, "read_config", create_autospec(routes.read_config, return_value=answer))
    with Connections(
        username="me", key=tmp_path / "key", known_hosts=tmp_path / "known_hosts", proxy_jump=jump
    ) as made:
        target = made._target(ONE)
    diagnosis = Diagnosis(failure=Failure.UNREACHABLE, message="Connection closed by UNKNOWN port 65535")
    error = explain(ONE, target, diagnosis, expected=[])
    assert ("through the jump host bastion.example" in error.message) is used
    assert error.unreachable
    assert not explain(ONE, target, replace(diagnosis, failure=Failure.DENIED), expected=[]).unreachable


def test_a_query_without_an_answer_names_the_host_the_query_the_limit_and_the_setting(
    connections: Connections, monkeypatch: pytest.MonkeyPatch
) -> None:
    received: list[Event] = []
    connections.answer = Patience(seconds=0.1, setting="answer_timeout")
    connections.observer = received.append

    def hang(argv: Sequence[str], *, timeout: float, **_: Any) -> None:
        time.sleep(0.2)
        raise subprocess.TimeoutExpired(argv, timeout, b"half an answ")

    monkeypatch.setattr(waiting, "_NOTICE_SECONDS", 0.05)
    monkeypatch.setattr(connections, "_master", lambda _host: SimpleNamespace(target=None, socket=Path("/nonexistent")))
    monkeypatch.setattr(connections, "_processes", SimpleNamespace(run=hang, cancel=lambda: None, reset=lambda: None))
    monkeypatch.setattr("flambe_ansible.ssh.connections.client_argv", lambda *_: ["ssh"])
    with pytest.raises(RemoteCommandError) as caught:
        connections.ask(ONE, "uptime", about="its load")
    assert caught.value.message == "c_factory_0: no answer within 0.1 s to the query for its load"
    assert caught.value.output == "half an answ"
    assert caught.value.hint == "if the host is slow, raise answer_timeout (now 0.1 s)"
    assert received == [Notice(message="c_factory_0: waiting for its load (limit 0.1 s)")]


@pytest.mark.parametrize(
    ("failure", "kind", "message"),
    [
        (Failure.HOST_KEY, HostKeyError, "the key of"),
        (Failure.REVOKED_KEY, RevokedKeyError, "@revoked"),
        (Failure.BASTION_KEY, BastionKeyError, "cannot connect to me@"),
        (Failure.DENIED, HostConnectionError, "SSH login as me@"),
        (Failure.UNREACHABLE, HostConnectionError, "cannot connect to me@"),
    ],
)
def test_each_failure_is_a_typed_error(
    connections: Connections, failure: Failure, kind: type, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "_proxy", lambda _host: None)
    diagnosis = Diagnosis(failure=failure, message="because", seen="SHA256:abc")
    error = explain(ONE, connections._target(ONE), diagnosis, expected=[])
    assert type(error) is kind
    assert message in error.message
    assert error.exit_code == 5
