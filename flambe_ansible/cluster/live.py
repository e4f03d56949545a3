"""A cluster that one can talk to: the connections to its hosts."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from flambe_ansible import events
from flambe_ansible.cluster import records
from flambe_ansible.cluster.provider import Provider
from flambe_ansible.errors import ClusterError, ClusterNotFoundError
from flambe_ansible.hosts import Host, HostState
from flambe_ansible.ssh import Connections, on_each

logger = logging.getLogger(__name__)

ACCESS_TIMEOUT = 300.0  # seconds for all hosts to take a login
STATUS_TIMEOUT = 10.0  # seconds for a host to answer when one only asks


class LiveCluster(Provider):
    """A cluster that one can talk to; the arguments are those of ``Provider``.

    A context manager: it closes its connections at the end; an error inside is logged, what this object created is
    rolled back, and the error is raised again (flambé ends the process instead).
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._connections: Connections | None = None
        self._trusted: set[str] = set()  # names of the hosts whose keys the provider was asked for

    # The way to the hosts.

    def connect(self, *, timeout: float = ACCESS_TIMEOUT) -> None:
        """Open a connection to every loaded host, its key checked from the first byte.

        Args:
            timeout: Seconds for all hosts to take a login.

        Raises:
            HostKeyError: A host's key is not the one the provider vouches for.
            HostConnectionError: A host did not answer in time.
            UnsupportedHostError: A host lacks what every host must have.
        """
        self.hosts = self._check_loaded()
        self._open(self.hosts, timeout=timeout)
        self.connections.probe(self.hosts)
        if type(self).find_hosts is Provider.find_hosts:
            records.write_hosts(self.state_dir, self.hosts)

    @property
    def connections(self) -> Connections:
        """The multiplexed connections to the hosts, kept until ``close``."""
        if self._connections is None:
            self._connections = Connections(
                username=self.username,
                key=Path(self.key),
                known_hosts=self.known_hosts,
                proxy_jump=self.proxy_jump,
                strict_host_keys=self.strict_host_keys,
                login_patience=self.login_patience,
            )
        return self._connections

    def attach(self, hosts: Sequence[Host] | None = None, *, timeout: float = STATUS_TIMEOUT) -> None:
        """Load the hosts that run now, or these alone, and connect to them, changing nothing.

        Raises:
            ClusterNotFoundError: Nothing runs.
            HostConnectionError: A host did not answer within ``timeout`` seconds.
        """
        self.hosts = self.find_running() if hosts is None else hosts
        self._open(self.hosts, timeout=timeout)

    def find_running(self) -> list[Host]:
        """Find the hosts that run now.

        Raises:
            ClusterNotFoundError: Nothing runs.
        """
        hosts = [host for host in self.find_hosts() if host.state is HostState.RUNNING]
        if not hosts:
            raise ClusterNotFoundError(
                f"no host of cluster {self.name} is running", hint="flambe-ans launch creates the cluster"
            )
        return hosts

    @property
    def known_hosts(self) -> Path:
        """The cluster's own known_hosts."""
        return self.state_dir / "known_hosts"

    def _reach(self, host: Host) -> Connections:
        """Return the connections; a host that is spoken to before ``connect`` is trusted first."""
        if host.name not in self._trusted:
            self._trust([host])
        return self.connections

    def _check_loaded(self) -> list[Host]:
        """Return the hosts that a provider loaded, once there are enough of them."""
        hosts = self.hosts
        if self.orchestrator is None or len(hosts) < 2:
            missing = "orchestrator" if self.orchestrator is None else "factory"
            raise ClusterError(f"{type(self).__name__}.load_all_instances() loaded no {missing}")
        return hosts

    def _open(self, hosts: Sequence[Host], *, timeout: float, observer: events.Observer | None = None) -> None:
        """Connect to hosts, trusting of each what the provider tells."""
        self._trust(hosts)
        self.connections.wait(hosts, timeout=timeout, observer=observer or self.observer)

    def _trust(self, hosts: Sequence[Host]) -> None:
        """Take the keys of hosts that are not known yet from the provider, all at once."""
        self._trusted.update(host.name for host in hosts)
        unknown = [host for host in hosts if not self.connections.knows(host)]
        for name, keys in on_each(unknown, self.expected_host_keys).items():
            if keys:
                self.connections.trust(next(host for host in unknown if host.name == name), keys)

    # The context manager.

    def close(self) -> None:
        """Close the connections to the hosts."""
        if self._connections is not None:
            self._connections.close()
            self._connections = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc_value: BaseException | None, tb: TracebackType | None
    ) -> None:
        try:
            if exc_value is not None:
                logger.error("%s: %s", type(self).__name__, exc_value)
                self.rollback_env()
        finally:
            self.close()
