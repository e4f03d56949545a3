"""Waiting for a booting host ends at once if the host key or login is wrong."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Sequence

import pytest

from flambe_ansible.errors import HostConnectionError
from flambe_ansible.ssh import Patience, waiting
from flambe_ansible.ssh.masters import ConnectFailedError, Diagnosis, Failure


class FakeConnection:
    """Raises the given failures, then connects."""

    def __init__(self, failures: Sequence[Failure]) -> None:
        self.failures = list(failures)
        self.tries = 0

    def open(self, *, timeout: float) -> None:
        self.tries += 1
        if self.failures:
            raise ConnectFailedError(Diagnosis(failure=self.failures.pop(0), message="no"))


class Clock:
    """A clock that advances only by waiting."""

    def __init__(self) -> None:
        self.now = 0.0
        self.pauses: list[float] = []

    def wait(self, pause: float) -> bool:
        self.pauses.append(pause)
        self.now += pause
        return False

    def is_set(self) -> bool:
        return False


@pytest.mark.parametrize(
    ("failures", "tries", "opens"),
    [
        ([], 1, True),
        ([Failure.UNREACHABLE] * 4, 5, True),
        ([Failure.DENIED] * 3, 4, True),
        ([Failure.UNREACHABLE, Failure.DENIED, Failure.DENIED], 4, True),
        ([Failure.HOST_KEY], 1, False),
        ([Failure.REVOKED_KEY], 1, False),
        ([Failure.BASTION_KEY], 1, False),
        ([Failure.LOCAL], 1, False),
        ([Failure.DENIED, Failure.HOST_KEY], 2, False),
        ([Failure.DENIED] * 99, 6, False),  # after 0, .5, 1.5, 3.5, 7.5, 15.5 s; the next is past its 30 s
        ([Failure.UNREACHABLE] * 99, 12, False),  # up to the deadline of 120 s
    ],
)
def test_retries(failures: list[Failure], tries: int, opens: bool) -> None:
    connection, clock = FakeConnection(failures), Clock()

    def open_connection() -> None:
        waiting.open_with_patience(
            connection,
            deadline=120.0,
            login_patience=30.0,
            stop=clock,  # type: ignore[arg-type]
            clock=lambda: clock.now,
        )

    if opens:
        open_connection()
    else:
        with pytest.raises(ConnectFailedError):
            open_connection()
    assert connection.tries == tries
    assert clock.pauses == sorted(clock.pauses)
    assert clock.now <= 120


def serve(port: socket.socket, replies: Sequence[bytes]) -> None:
    for reply in replies:
        connection, _ = port.accept()
        with connection:
            connection.sendall(reply)


@pytest.mark.parametrize(
    "replies",
    [
        [b"SSH-2.0-x\r\n"],
        [b"hello\r\nSSH-2.0-x\r\n"],
        [b"", b"", b"SSH-2.0-x\r\n"],
        [b"HTTP/1.1 400\r\n", b"SSH-2.0-x\r\n"],
    ],
)
def test_banner(replies: list[bytes]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as port:
        thread = threading.Thread(target=serve, args=(port, replies), daemon=True)
        thread.start()
        number = port.getsockname()[1]
        limit = Patience(seconds=120)
        waiting.wait_for_banner("h", "127.0.0.1", port=number, patience=limit, stop=threading.Event())
        thread.join()


def test_no_banner_is_an_error_with_the_address() -> None:
    with socket.create_server(("127.0.0.1", 0)) as port:
        number = port.getsockname()[1]
    with pytest.raises(
        HostConnectionError, match=f"h: no SSH at 127.0.0.1 port {number}: connection refused"
    ) as caught:
        limit = Patience(seconds=60, reach=0.3, setting="answer_timeout")
        waiting.wait_for_banner("h", "127.0.0.1", port=number, patience=limit, stop=threading.Event())
    assert caught.value.host == "h"
    assert caught.value.unreachable
    assert "raise answer_timeout (now 60 s)" in (caught.value.hint or "")


def test_a_slow_sshd_gets_more_time_than_a_host_that_accepts_no_connection() -> None:
    limit = Patience(seconds=20, reach=0.2)
    with socket.create_server(("127.0.0.1", 0)) as port:

        def answer_late() -> None:
            connection, _ = port.accept()
            with connection:
                time.sleep(0.8)
                connection.sendall(b"SSH-2.0-x\r\n")

        thread = threading.Thread(target=answer_late, daemon=True)
        thread.start()
        number = port.getsockname()[1]
        waiting.wait_for_banner("h", "127.0.0.1", port=number, patience=limit, stop=threading.Event())
        thread.join()


def test_a_hanging_sshd_is_reported_as_such() -> None:
    with socket.create_server(("127.0.0.1", 0)) as port:
        number = port.getsockname()[1]
        with pytest.raises(HostConnectionError, match="accepts connections, but sshd sends no banner, for 1 s"):
            waiting.wait_for_banner(
                "h", "127.0.0.1", port=number, patience=Patience(seconds=0.6, reach=0.1), stop=threading.Event()
            )


def test_a_stop_event_ends_the_wait() -> None:
    stop = threading.Event()
    stop.set()
    waiting.wait_for_banner("h", "127.0.0.1", port=1, patience=Patience(seconds=60), stop=stop)
