"""Wait until a fresh host lets in: first its banner, then a login.

A host that has just booted refuses the port, then answers before the key is installed, and OpenSSH 9.8 and later
shut out for a while who connects and fails. So the port is asked for its banner, which no penalty counts, and logins
are tried with growing pauses.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Protocol

from flambe_ansible.errors import HostConnectionError
from flambe_ansible.ssh.masters import ConnectFailedError, Failure

_FIRST_PAUSE = 0.1
_LONGEST_KNOCK = 2.0
_LOGIN_PAUSES = (0.5, 1.0, 2.0, 4.0, 8.0)
_LONGEST_LOGIN_PAUSE = 15.0


class Openable(Protocol):
    """What can be tried again: a :class:`~flambe_ansible.ssh.masters.Master`."""

    def open(self, *, timeout: float) -> None:
        """Try once."""


def wait_for_banner(
    host: str, address: str, *, port: int, deadline: float, stop: threading.Event, connect_timeout: float = 5.0
) -> None:
    """Connect to a port until something there says ``SSH-``.

    Args:
        host: The host's name, for the error.
        address: Where to connect.
        port: The port.
        deadline: When to give up, on ``time.monotonic()``'s clock.
        stop: Ends the wait early when set.
        connect_timeout: Seconds for one attempt.

    Raises:
        HostConnectionError: Nothing spoke SSH there in time.
    """
    last = "no answer"
    pause = _FIRST_PAUSE
    while not stop.is_set():
        limit = min(connect_timeout, max(deadline - time.monotonic(), 0.1))
        try:
            if _read_banner(address, port, limit):
                return
            last = "something answers there, but it does not speak SSH"
        except OSError as e:
            last = (e.strerror or str(e) or type(e).__name__).lower()
        if time.monotonic() + pause >= deadline:
            break
        stop.wait(pause)
        pause = min(pause * 1.5, _LONGEST_KNOCK)
    if not stop.is_set():
        raise HostConnectionError(
            f"{host}: no SSH at {address} port {port}: {last}",
            host=host,
            hint="Is the address right (use_public), and may this machine reach the port (security group, VPN)?",
        )


def open_with_patience(
    connection: Openable,
    *,
    deadline: float,
    login_patience: float,
    stop: threading.Event,
    clock: Callable[[], float] = time.monotonic,
) -> None:
    """Open a connection, again and again while the host may still be booting.

    Args:
        connection: What to open.
        deadline: When to give up, on the clock.
        login_patience: Seconds for which a refused login is tried again, counted from the first refusal.
        stop: Ends the wait early when set; then nothing is open.
        clock: Tells the time, seconds.

    Raises:
        ConnectFailedError: The last attempt's failure; of the kinds ``HOST_KEY`` and ``LOCAL`` the first one's.
    """
    refused_until: float | None = None
    for pause in _login_pauses():
        try:
            connection.open(timeout=max(deadline - clock(), 1.0))
        except ConnectFailedError as e:
            kind = e.diagnosis.failure
            if kind in (Failure.HOST_KEY, Failure.LOCAL):
                raise
            if kind is Failure.DENIED and refused_until is None:
                refused_until = clock() + login_patience
            limit = min(deadline, refused_until) if kind is Failure.DENIED and refused_until else deadline
            if clock() + pause >= limit:
                raise
            if stop.wait(pause):
                return
        else:
            return


def _login_pauses() -> Iterator[float]:
    yield from _LOGIN_PAUSES
    while True:
        yield _LONGEST_LOGIN_PAUSE


def _read_banner(address: str, port: int, limit: float) -> bool:
    """Read up to the first line that says SSH; servers may say other lines before it (RFC 4253, 4.2)."""
    with socket.create_connection((address, port), timeout=limit) as connection:
        said = b""
        while len(said) < 8192:
            chunk = connection.recv(256)
            if not chunk:
                return False
            said += chunk
            if said.startswith(b"SSH-") or b"\nSSH-" in said:
                return True
    return False
