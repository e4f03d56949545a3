"""The sites of a cluster on this machine's loopback, as long as somebody wants them there."""

from __future__ import annotations

import contextlib
import http.client
import socket
import time
from types import TracebackType
from typing import TYPE_CHECKING, Self

from flambe_ansible.cluster.runs import RunState
from flambe_ansible.cluster.sites import (
    LOOPBACK,
    REPORT_SITE_PORT,
    REPORT_SITE_UNIT,
    TENSORBOARD_PORT,
    TENSORBOARD_UNIT,
    Sites,
    make_sites,
)
from flambe_ansible.errors import HostConnectionError, HostError
from flambe_ansible.events import Notice
from flambe_ansible.hosts import Host

if TYPE_CHECKING:
    from flambe_ansible.cluster.base import Cluster

_LOOK_SECONDS = 5.0
_ANSWER_SECONDS = 20.0
_UNITS = {REPORT_SITE_PORT: REPORT_SITE_UNIT, TENSORBOARD_PORT: TENSORBOARD_UNIT}


class Tunnels:
    """The sites of a run through the connection to the orchestrator; a context manager.

    Args:
        cluster: The cluster, attached to its orchestrator.
        run: Its last run; only an experiment has a report site.

    Attributes:
        ports: The port here of each port there.
    """

    def __init__(self, cluster: Cluster, run: RunState) -> None:
        self.ports: dict[int, int] = {}
        self._cluster = cluster
        self._units = _UNITS if run.is_experiment else {TENSORBOARD_PORT: TENSORBOARD_UNIT}
        self._open = contextlib.ExitStack()

    @property
    def sites(self) -> Sites:
        """Where the sites are on this machine."""
        return make_sites(LOOPBACK, self.ports.get(REPORT_SITE_PORT), self.ports[TENSORBOARD_PORT])

    def __enter__(self) -> Self:
        self._connect()
        for remote, unit in self._units.items():
            if not _answers(self.ports[remote]):
                name = self._host.name
                self._cluster.observer(
                    Notice(message=f"{name}: {unit} does not answer; see journalctl -u {unit} there", warning=True)
                )
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc_value: BaseException | None, tb: TracebackType | None
    ) -> None:
        self._open.close()

    def keep(self) -> None:
        """Keep the tunnels open, through lost connections, until this thread is interrupted."""
        told = False
        while True:
            time.sleep(_LOOK_SECONDS)
            if all(map(_listens, self.ports.values())):
                continue
            try:
                self._open.close()
                self._connect()
                self._cluster.observer(Notice(message="the tunnel is open again"))
                told = False
            except HostError as error:
                if not told:
                    self._cluster.observer(Notice(message=f"{error.message}; trying again", warning=True))
                told = True

    @property
    def _host(self) -> Host:
        assert self._cluster.orchestrator is not None  # noqa: S101 - it is attached
        return self._cluster.orchestrator.data

    def _connect(self) -> None:
        """Open all; on the ports of before, else on the same as there, else on free ones."""
        for remote in self._units:
            wanted = self.ports.get(remote) or (remote if _is_free(remote) else 0)
            tunnel = self._cluster.connections.tunnel(self._host, remote, local_port=wanted)
            try:
                self.ports[remote] = self._open.enter_context(tunnel)
            except HostConnectionError:
                if wanted == 0 or remote in self.ports:
                    raise
                free = self._cluster.connections.tunnel(self._host, remote)  # somebody was faster
                self.ports[remote] = self._open.enter_context(free)


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
    """Tell whether a site answers, which may take a moment."""
    connection = http.client.HTTPConnection(LOOPBACK, port, timeout=_ANSWER_SECONDS)
    try:
        connection.request("GET", "/")
        connection.getresponse().read(1)
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
    return True
