"""Connections that are opened before it is known whether their hosts still exist."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from flambe_ansible.errors import HostError
from flambe_ansible.ssh.masters import ConnectFailedError, Master
from flambe_ansible.ssh.options import Target

_POLL = 0.05


class EarlyConnection:
    """One attempt to connect, in a separate thread; its failure is ignored.

    Args:
        make: Returns the connection.
        timeout: Seconds for the login.
    """

    def __init__(self, make: Callable[[], Master], *, timeout: float) -> None:
        self._make = make
        self._timeout = timeout
        self._master: Master | None = None
        self._dropped = False
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._open, name="flambe-early", daemon=True)
        self._thread.start()

    @property
    def is_open(self) -> bool:
        """Whether the connection is open."""
        return not self._thread.is_alive() and self._master is not None and self._master.alive

    def take(self, target: Target, *, deadline: float) -> Master | None:
        """Return the connection if it was opened to this target; wait for the end of the attempt.

        A connection to another target is closed.
        """
        self._thread.join(max(deadline - time.monotonic(), 0.0))
        if self.is_open and self._master and self._master.target == target:
            return self._master
        self.drop()
        return None

    def interrupt(self) -> None:
        """End the attempt; an open connection is kept."""
        with self._lock:
            self._dropped, master = True, self._master
        if master is not None:
            master.interrupt()

    def drop(self) -> None:
        """End the attempt, and close the connection."""
        self.interrupt()
        while self._thread.is_alive():
            self._thread.join(_POLL)
            self.interrupt()  # the process may have been started since
        if self._master is not None:
            self._master.kill()

    def _open(self) -> None:
        try:
            master = self._make()
            with self._lock:
                if self._dropped:
                    return
                self._master = master
            master.open(timeout=self._timeout)
        except (ConnectFailedError, HostError, OSError):
            return
