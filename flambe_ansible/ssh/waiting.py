"""Wait until a new host accepts the login: first for sshd's banner, then for the login.

A host that is booting first refuses the port, and then accepts connections before the key is installed. OpenSSH 9.8
and later block clients for a while after failed logins. Reading the banner causes no such penalty; logins are tried
with increasing pauses.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain, repeat
from typing import Protocol

from flambe_ansible.errors import HostConnectionError
from flambe_ansible.events import Notice, Observer
from flambe_ansible.ssh.masters import FINAL_FAILURES, ConnectFailedError, Failure

_CONNECT_TIMEOUT = 5.0
_FIRST_PAUSE = 0.1
_LONGEST_PAUSE = 2.0
_LOGIN_PAUSES = (0.5, 1.0, 2.0, 4.0, 8.0)
_LONGEST_LOGIN_PAUSE = 15.0
_NOTICE_SECONDS = 5.0
_POLL = 0.5


@dataclass(frozen=True, kw_only=True)
class Patience:
    """How long to wait for one host.

    Attributes:
        seconds: For a login, or for the answer to one query.
        reach: Seconds for its port to accept a connection; None is ``seconds``.
        setting: The setting that allows more, for messages, or "".
    """

    seconds: float
    reach: float | None = None
    setting: str = ""

    @property
    def remedy(self) -> str:
        """What to do if the host is slow, or ""."""
        return f"if the host is slow, raise {self.setting} (now {self.seconds:g} s)" if self.setting else ""


class Openable(Protocol):
    """A connection that can be opened, such as :class:`~flambe_ansible.ssh.masters.Master`."""

    def open(self, *, timeout: float) -> None:
        """Try once."""


@contextmanager
def announce_delay(observer: Observer, message: str) -> Iterator[None]:
    """Send a notice if the block takes long."""
    timer = threading.Timer(_NOTICE_SECONDS, lambda: observer(Notice(message=message)))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def wait_for_banner(host: str, address: str, *, port: int, patience: Patience, stop: threading.Event) -> None:
    """Connect to a port until it answers with an SSH banner, the time is up, or ``stop`` is set.

    A host that never accepted a connection gets ``patience.reach`` seconds, one with a slow sshd all.
    """
    started = time.monotonic()
    deadline = started + (patience.seconds if patience.reach is None else min(patience.reach, patience.seconds))
    last = "no answer"
    pause = _FIRST_PAUSE
    while not stop.is_set():
        limit = min(_CONNECT_TIMEOUT, max(deadline - time.monotonic(), 0.1))
        try:
            with socket.create_connection((address, port), timeout=limit) as connection:
                deadline = started + patience.seconds
                if _read_banner(connection, deadline, stop):
                    return
            last = "the answer is not an SSH banner"
        except OSError as e:
            last = (e.strerror or str(e) or type(e).__name__).lower()
        if time.monotonic() + pause >= deadline:
            break
        stop.wait(pause)
        pause = min(pause * 1.5, _LONGEST_PAUSE)
    if not stop.is_set():
        hint = "check that the host runs, and that this machine can reach the port (address, security group, VPN)"
        raise HostConnectionError(
            f"{host}: no SSH at {address} port {port}: {last}, for {time.monotonic() - started:.0f} s",
            host=host,
            hint="; ".join(filter(None, (hint, patience.remedy))),
            unreachable=True,
        )


def open_with_patience(
    connection: Openable,
    *,
    deadline: float,
    login_patience: float,
    stop: threading.Event,
    clock: Callable[[], float] = time.monotonic,
) -> None:
    """Open a connection; repeat failed attempts while the host may still be booting.

    A refused login is repeated for ``login_patience`` seconds from the first refusal on. If ``stop`` is set, the
    connection is not open afterwards. The last ``ConnectFailedError`` is raised, and those that time does not change at
    once.
    """
    refused_until: float | None = None
    for pause in chain(_LOGIN_PAUSES, repeat(_LONGEST_LOGIN_PAUSE)):
        try:
            connection.open(timeout=max(deadline - clock(), 1.0))
        except ConnectFailedError as e:
            kind = e.diagnosis.failure
            if kind in FINAL_FAILURES:
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


def _read_banner(connection: socket.socket, deadline: float, stop: threading.Event) -> bool:
    """Read until the SSH banner; servers may send other lines before it (RFC 4253, 4.2)."""
    received = b""
    connection.settimeout(_POLL)
    while len(received) < 8192:
        try:
            chunk = connection.recv(256)
        except TimeoutError:
            if stop.is_set() or time.monotonic() >= deadline:
                raise TimeoutError("it accepts connections, but sshd sends no banner") from None
            continue
        if not chunk:
            return False
        received += chunk
        if received.startswith(b"SSH-") or b"\nSSH-" in received:
            return True
    return False
