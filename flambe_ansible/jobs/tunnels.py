"""Tunnels from this machine's loopback to services on the orchestrator."""

from __future__ import annotations

import contextlib
import http.client
import socket
import time
from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import Self

from flambe_ansible.errors import HostConnectionError, HostError
from flambe_ansible.events import Notice
from flambe_ansible.fleet.fleet import Fleet
from flambe_ansible.jobs.sites import LOOPBACK

_LOOK_SECONDS = 5.0
_ANSWER_SECONDS = 20.0
# Prints the first byte of a site's answer, or nothing.
_ASK_ON_HOST = (
    "bash -c 'exec 3<>/dev/tcp/{address} && printf \"GET / HTTP/1.0\\r\\n\\r\\n\" >&3 && timeout 20 head -c 1 <&3'"
    " 2>/dev/null; :"
)
_IS_OPEN = "bash -c 'exec 3<>/dev/tcp/{address} && echo open' 2>/dev/null; :"


class Tunnels:
    """Tunnels to services on the orchestrator through the connection to it; a context manager.

    Args:
        fleet: The connected orchestrator.
        units: The unit that serves each port of its loopback over HTTP.
        others: Further ports, which are forwarded without a check.

    Attributes:
        ports: The local port of each remote port.
    """

    def __init__(self, fleet: Fleet, units: Mapping[int, str], *, others: Iterable[int] = ()) -> None:
        self.ports: dict[int, int] = {}
        self._fleet = fleet
        self._units = units
        self._remote = (*units, *others)
        self._open = contextlib.ExitStack()

    def __enter__(self) -> Self:
        self._connect()
        try:
            for remote, unit in self._units.items():
                if not _answers(self.ports[remote]):
                    self._explain(remote, unit)
        except BaseException:
            self._open.close()
            raise
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc_value: BaseException | None, tb: TracebackType | None
    ) -> None:
        self._open.close()

    def keep(self) -> None:
        """Keep the tunnels open, also after a lost connection, until this thread is interrupted."""
        warned = False
        while True:
            time.sleep(_LOOK_SECONDS)
            if all(map(_listens, self.ports.values())):
                continue
            try:
                self._open.close()
                self._connect()
                self._fleet.observer(Notice(message="the tunnel is open again"))
                warned = False
            except HostError as error:
                if not warned:
                    self._fleet.observer(Notice(message=f"{error.message}; retrying", warning=True))
                warned = True

    def _explain(self, remote: int, unit: str) -> None:
        """Warn that a site does not answer; raise an error if only the tunnel does not work."""
        orchestrator = self._fleet.orchestrator
        name = orchestrator.name
        if orchestrator.ask(_ASK_ON_HOST.format(address=f"{LOOPBACK}/{remote}")).strip():
            if _answers(self.ports[remote]):  # it was still starting
                return
            raise HostConnectionError(
                f"{name}: {unit} answers on the host, but not through an SSH tunnel",
                host=name,
                hint="set `AllowTcpForwarding local` in /etc/ssh/sshd_config on the host, then systemctl reload ssh",
            )
        message = f"{name}: {unit} does not answer; read `journalctl -u {unit}` on the host"
        self._fleet.observer(Notice(message=message, warning=True))

    def _connect(self) -> None:
        """Open all tunnels: on the ports used before, else on the remote port numbers, else on free ports."""
        for remote in self._remote:
            wanted = self.ports.get(remote) or (remote if _is_free(remote) else 0)
            tunnel = self._fleet.connections.tunnel(self._fleet.head, remote, local_port=wanted)
            try:
                self.ports[remote] = self._open.enter_context(tunnel)
            except HostConnectionError:
                if wanted == 0 or remote in self.ports:
                    raise
                free = self._fleet.connections.tunnel(self._fleet.head, remote)  # the port was taken meanwhile
                self.ports[remote] = self._open.enter_context(free)


def warn_of_closed(fleet: Fleet, ports: Iterable[int]) -> None:
    """Send a notice for each port of the orchestrator's loopback on which nothing listens."""
    for port in ports:
        if not fleet.orchestrator.ask(_IS_OPEN.format(address=f"{LOOPBACK}/{port}")).strip():
            message = f"{fleet.head.name}: nothing listens on {LOOPBACK}:{port}; the tunnel is opened nevertheless"
            fleet.observer(Notice(message=message, warning=True))


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
    return True


def _listens(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection((LOOPBACK, port), 5):
        return True
    return False


def _answers(port: int) -> bool:
    """Return whether a site answers."""
    connection = http.client.HTTPConnection(LOOPBACK, port, timeout=_ANSWER_SECONDS)
    try:
        connection.request("GET", "/")
        connection.getresponse().read(1)
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
    return True
