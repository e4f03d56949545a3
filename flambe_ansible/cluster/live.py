"""A cluster that one can talk to: its names, its hosts, and the connections to them.

It follows flambé's ``flambe.cluster.cluster.Cluster``: the same names, arguments and meaning.
"""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Self

from flambe_ansible import events
from flambe_ansible.cluster.instance import Instance
from flambe_ansible.cluster.plan import Plan
from flambe_ansible.errors import ClusterError, ClusterNotFoundError
from flambe_ansible.hosts import Host, HostState, Role, factory_name, orchestrator_name
from flambe_ansible.paths import cluster_state
from flambe_ansible.ssh import Connections, on_each

logger = logging.getLogger(__name__)

ACCESS_TIMEOUT = 300.0  # seconds for all hosts to take a login
STATUS_TIMEOUT = 10.0  # seconds for a host to answer when one only asks


class LiveCluster(ABC):
    """A cluster of one orchestrator and N factories, as far as one can talk to it.

    A context manager: it closes its connections at the end; an error inside is logged, what this object created is
    rolled back, and the error is raised again (flambé ends the process instead).

    Args:
        name: The cluster's name; its hosts are named after it.
        factories_num: How many factories it has.
        key: Path of the user's private SSH key; the same for all hosts.
        username: The user to log in as; the same on all hosts.
        setup_cmds: Commands for bash, run in order on every host. They must be idempotent and expect no input.
        flambe_version: The flambe that the hosts get; None is the one installed here.
        use_public: Whether this machine connects to public addresses; otherwise to private ones.
        strict_host_keys: Refuse a host whose key no trusted source told, instead of keeping the first key seen.
        setup_timeout: Seconds that one setup command may take.

    Attributes:
        created: Names of the hosts that this object created; providers append to it.
        observer: Hears of every step.
    """

    provider: ClassVar[str] = ""

    def __init__(
        self,
        name: str,
        factories_num: int,
        key: str,
        username: str,
        setup_cmds: list[str] | None = None,
        *,
        flambe_version: str | None = None,
        use_public: bool = True,
        strict_host_keys: bool = False,
        setup_timeout: float = 3600.0,
    ) -> None:
        self.name = name
        self.factories_num = factories_num
        self.key = str(Path(key).expanduser().absolute()) if key else ""
        self.username = username
        self.setup_cmds = setup_cmds
        self.flambe_version = flambe_version
        self.use_public = use_public
        self.strict_host_keys = strict_host_keys
        self.setup_timeout = setup_timeout
        self.observer: events.Observer = events.ignore
        self.orchestrator: Instance | None = None
        self.factories: list[Instance] = []
        self.created: list[str] = []
        self._hosts: list[Host] = []
        self._connections: Connections | None = None

    # What a provider gives.

    @abstractmethod
    def load_all_instances(self) -> None:
        """Make all hosts exist, and set ``hosts`` (or ``orchestrator`` and ``factories``)."""

    @abstractmethod
    def find_hosts(self) -> list[Host]:
        """Find what exists of the cluster now, without changing anything; the orchestrator first."""

    @abstractmethod
    def plan(self) -> Plan:
        """Say what ``run`` would do, without changing anything."""

    def rollback_env(self) -> None:  # noqa: B027 - most providers create nothing
        """Remove what this object created; where nothing is created, do nothing."""

    def terminate_instances(self) -> list[Host]:
        """End every host of the cluster, and return them; where hosts are not ours to end, refuse."""
        raise ClusterError(f"hosts of a {type(self).__name__} are not this tool's to terminate")

    def parse(self) -> None:  # noqa: B027 - by default checks nothing, as flambé's
        """Check what no single field can tell.

        Raises:
            ClusterConfigurationError: The configuration cannot work.
        """

    def expected_host_keys(self, host: Host) -> list[str] | None:
        """Return the SSH host keys (``type base64``) that the provider vouches for; None: it cannot know."""
        del host
        return None

    def identity(self) -> tuple[str, ...]:
        """Return what tells this cluster from others of the same name."""
        return (self.provider,)

    # Names and places.

    def get_orchestrator_name(self) -> str:
        """Return ``<name>_orchestrator``."""
        return orchestrator_name(self.name)

    def get_factory_basename(self) -> str:
        """Return ``<name>_factory``."""
        return factory_name(self.name)

    @property
    def state_dir(self) -> Path:
        """The local folder of this cluster: known_hosts, journal, logs."""
        return cluster_state(self.name, *self.identity())

    @property
    def hosts(self) -> list[Host]:
        """The hosts that were loaded: the orchestrator first, then the factories by index."""
        return list(self._hosts)

    @hosts.setter
    def hosts(self, hosts: Sequence[Host]) -> None:
        self._hosts = sorted(hosts, key=lambda host: (host.role is Role.FACTORY, host.index))
        instances = [Instance(host, lambda: self.connections) for host in self._hosts]
        self.orchestrator = next((one for one in instances if one.data.role is Role.ORCHESTRATOR), None)
        self.factories = [one for one in instances if one.data.role is Role.FACTORY]

    def _get_all_hosts(self) -> list[Instance]:
        """All hosts, factories first, as flambé has them."""
        return [*self.factories, self._get_orchestrator()]

    def _get_orchestrator(self) -> Instance:
        if self.orchestrator is None:
            raise ClusterError("the orchestrator was not loaded", hint="call run() or load_all_instances() first")
        return self.orchestrator

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
        self._trust(self.hosts)
        self.connections.wait(self.hosts, timeout=timeout, observer=self.observer)
        self.connections.probe(self.hosts)

    @property
    def connections(self) -> Connections:
        """The multiplexed connections to the hosts, kept until ``close``."""
        if self._connections is None:
            self._connections = Connections(
                username=self.username,
                key=Path(self.key),
                known_hosts=self.known_hosts,
                strict_host_keys=self.strict_host_keys,
            )
        return self._connections

    def attach(self, hosts: Sequence[Host] | None = None, *, timeout: float = STATUS_TIMEOUT) -> None:
        """Load the hosts that run now, or these alone, and connect to them, changing nothing.

        Raises:
            ClusterNotFoundError: Nothing runs.
            HostConnectionError: A host did not answer within ``timeout`` seconds.
        """
        self.hosts = self.find_running() if hosts is None else hosts
        self._trust(self.hosts)
        self.connections.wait(self.hosts, timeout=timeout, observer=self.observer)

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

    def _trust(self, hosts: Sequence[Host]) -> None:
        """Take the keys of hosts that are not known yet from the provider, all at once."""
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
