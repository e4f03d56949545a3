"""Reservations by this process; the orchestrator is a shell on this machine."""

from __future__ import annotations

import math
import subprocess
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import create_autospec

import pytest

from flambe_ansible.errors import ClusterBusyError, HostConnectionError, RemoteCommandError, UnsupportedHostError
from flambe_ansible.fleet import reservation
from flambe_ansible.fleet.reservation import Holder, Reservation, Waiting, find_holder
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


# Waiting.


@pytest.fixture
def quick(connections: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Shorten the pauses of the program on the host, and between attempts."""
    write = reservation._write_program
    monkeypatch.setattr(
        reservation, "_write_program", lambda call: write(call).replace(b"PATIENCE = 2.0", b"PATIENCE = 0.1")
    )
    monkeypatch.setattr(reservation, "POLL_SECONDS", 0.05)


def test_a_wait_names_the_holder_and_takes_its_turn(
    connections: Any, quick: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reservation, "NOTICE_SECONDS", 0.4)
    notices: list[str] = []
    waiting = Waiting(limit=30, observer=lambda event: notices.append(event.message))  # type: ignore[attr-defined]
    with Reservation("launch", cluster="demo") as first:
        first.take(connections, HEAD)
        threading.Timer(2.0, first.release).start()
        with Reservation("submit", cluster="demo", waiting=waiting) as second:
            second.take(connections, HEAD)
            assert second.held
            assert not first.held
    assert 2 <= len(notices) <= 6
    assert notices[0].startswith("waiting: cluster demo is reserved by ")
    assert ": launch is running there since 20" in notices[0]
    assert "nothing was changed" not in notices[0]
    assert notices[1].startswith("waiting (for 0 min so far): ")


def test_the_limit_of_a_wait(connections: Any, quick: None) -> None:
    with Reservation("launch", cluster="demo") as first:
        first.take(connections, HEAD)
        second = Reservation("submit", cluster="demo", waiting=Waiting(limit=0.3))
        started = time.monotonic()
        with pytest.raises(ClusterBusyError, match="is reserved by"):
            second.take(connections, HEAD)
        assert time.monotonic() - started >= 0.3
        assert not second.held


def test_a_running_job_is_not_waited_for() -> None:
    calls: list[int] = []

    def attempt() -> None:
        calls.append(1)
        raise ClusterBusyError("job train is running", state="running")

    with pytest.raises(ClusterBusyError):
        Waiting(limit=math.inf).repeat(attempt)
    assert len(calls) == 1


def test_ctrl_c_ends_a_wait_and_leaves_no_process(
    connections: Any, quick: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[subprocess.Popen[bytes]] = []
    original = connections.start.side_effect
    connections.start.side_effect = lambda *given: started.append(original(*given)) or started[-1]

    def interrupt(_seconds: float) -> None:
        raise KeyboardInterrupt

    with Reservation("launch", cluster="demo") as first:
        first.take(connections, HEAD)
        monkeypatch.setattr(reservation, "time", SimpleNamespace(monotonic=time.monotonic, sleep=interrupt))
        with (
            pytest.raises(KeyboardInterrupt),
            Reservation("submit", cluster="demo", waiting=Waiting(limit=60)) as second,
        ):
            second.take(connections, HEAD)
        assert started[1].poll() is not None
        first.check()


def test_two_waiters_and_a_holder_take_turns_one_at_a_time(connections: Any, quick: None) -> None:
    inside, most, turns = 0, 0, []

    def work(name: str) -> None:
        nonlocal inside, most
        with Reservation(name, cluster="demo", waiting=Waiting(limit=60)) as made:
            made.take(connections, HEAD)
            inside += 1
            most = max(most, inside)
            time.sleep(0.3)
            made.check()
            turns.append(name)
            inside -= 1

    threads = [threading.Thread(target=work, args=(name,)) for name in ("holder", "first", "second")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert (most, sorted(turns)) == (1, ["first", "holder", "second"])
