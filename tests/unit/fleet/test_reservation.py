"""Reservations by this process; the orchestrator is a shell on this machine."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path
from typing import Any
from unittest.mock import create_autospec

import pytest

from flambe_ansible.errors import ClusterBusyError, HostConnectionError, RemoteCommandError, UnsupportedHostError
from flambe_ansible.fleet import reservation
from flambe_ansible.fleet.reservation import Holder, Reservation, find_holder
from flambe_ansible.hosts import Host
from flambe_ansible.ssh import Completed, Connections
from tests.unit.cli.made_up import HOSTS

HEAD = HOSTS[0]


@pytest.fixture
def connections(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return connections whose commands run on this machine, with a lock file of this test."""
    tmp_path.chmod(0o1777)
    write = reservation._write_program

    def write_program(call: str) -> bytes:
        return write(call).replace(b'("/run/lock", "/tmp")', repr([str(tmp_path)]).encode())

    def start(_host: Host, command: str) -> subprocess.Popen[bytes]:
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
        return subprocess.Popen(["/bin/sh", "-c", f"echo Welcome; {command}"], **pipes)  # type: ignore[call-overload,no-any-return]

    def ask(_host: Host, command: str, *, input: bytes, about: str, check: bool) -> Completed:  # noqa: A002
        del about, check
        done = subprocess.run(["/bin/sh", "-c", command], input=input, capture_output=True, check=False)
        return Completed(returncode=done.returncode, stdout=done.stdout.decode(), stderr=done.stderr.decode())

    monkeypatch.setattr(reservation, "_write_program", write_program)
    made = create_autospec(Connections, instance=True)
    made.start.side_effect, made.ask.side_effect = start, ask
    return made


def test_another_process_is_refused_until_it_is_released(connections: Any) -> None:
    assert find_holder(connections, HEAD) is None
    with Reservation("launch", cluster="demo") as first:
        first.take(connections, HEAD)
        first.take(connections, HEAD)
        first.check()
        assert connections.start.call_count == 1
        holder = find_holder(connections, HEAD)
        assert holder is not None
        assert (holder.what, "@" in holder.who, holder.origin) == ("launch", True, "")
        with Reservation("submit", cluster="demo") as second, pytest.raises(ClusterBusyError) as caught:
            second.take(connections, HEAD)
        assert not second.held
        assert caught.value.message == (
            f"cluster demo is reserved by {holder.who}: launch is running there since {holder.since};"
            " nothing was changed"
        )
        assert (caught.value.exit_code, caught.value.state) == (11, "")
    assert not first.held
    with Reservation("submit", cluster="demo") as third:
        third.take(connections, HEAD)


def test_a_lost_reservation_is_an_error(connections: Any) -> None:
    with Reservation("launch", cluster="demo") as made:
        made.check()
        made.take(connections, HEAD)
        assert made._process is not None
        made._process.kill()
        made._process.wait()
        with pytest.raises(HostConnectionError, match="the reservation of cluster demo was lost"):
            made.check()


def test_it_is_kept_by_regular_input(connections: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reservation, "BEAT_SECONDS", 0.3)
    monkeypatch.setattr(reservation, "SILENCE_SECONDS", 3.0)
    with Reservation("launch", cluster="demo") as made:
        made.take(connections, HEAD)
        time.sleep(4)
        made.check()


def test_a_host_without_python_is_probed(connections: Any) -> None:
    connections.start.side_effect = lambda *_: subprocess.Popen(
        ["/bin/sh", "-c", "exit 127"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with pytest.raises(RemoteCommandError, match=r"could not be read or taken: no Python 3\.8 or later"):
        Reservation("launch", cluster="demo").take(connections, HEAD)
    connections.probe.side_effect = UnsupportedHostError("no Python", host=HEAD.name)
    with pytest.raises(UnsupportedHostError):
        Reservation("launch", cluster="demo").take(connections, HEAD)


def test_no_answer_is_an_error(connections: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A login shell that runs another program does not mean that the cluster is free."""
    connections.ask.side_effect = lambda *_, **__: Completed(returncode=0, stdout="Welcome\n", stderr="")
    with pytest.raises(RemoteCommandError, match="could not be read or taken: Welcome"):
        find_holder(connections, HEAD)
    connections.ask.side_effect = lambda *_, **__: Completed(returncode=127, stdout="", stderr="")
    assert find_holder(connections, HEAD) is None
    for command, message in (("echo hello", "read or taken: hello"), ("exec sleep 60", "no answer within 0.5 s")):
        monkeypatch.setattr(reservation, "ANSWER_SECONDS", 0.5 if "sleep" in command else 60.0)
        connections.start.side_effect = lambda *_, command=command: subprocess.Popen(
            ["/bin/sh", "-c", command], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        with pytest.raises((RemoteCommandError, HostConnectionError), match=message):
            Reservation("launch", cluster="demo").take(connections, HEAD)


def test_the_document_of_a_holder() -> None:
    holder = Holder(who="ann@laptop", what="launch", since="2026-11-29T12:03:00Z", origin="10.0.0.7")
    assert holder.to_dict() == {
        "who": "ann@laptop",
        "what": "launch",
        "since": "2026-11-29T12:03:00Z",
        "from": "10.0.0.7",
    }


def test_a_file_that_another_user_wrote_is_shown_as_text() -> None:
    document = {"who": "ann\x1b[2J", "what": "launch", "since": "now", "from": ["a"]}
    assert reservation._read_holder(document) == Holder(what="launch", origin="['a']")


@pytest.mark.parametrize("shell", ["bash", "sh"])
def test_the_command_has_no_character_that_shells_change(shell: str) -> None:
    command = reservation._command(b"print(1)")
    assert not set(command) & set("!\\\n`")
    done = subprocess.run([shell, "-c", command], input=b"print(1)", capture_output=True, check=False)
    assert done.stdout == b"1\n"
