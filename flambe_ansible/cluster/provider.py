"""What every cluster is, and what a provider of clusters implements: names, hosts, and the hooks.

It follows flambé's ``flambe.cluster.cluster.Cluster``: the same names, arguments and meaning.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from flambe_ansible import events, versions
from flambe_ansible.cluster import records
from flambe_ansible.cluster.instance import Instance
from flambe_ansible.cluster.plan import Plan, plan_recorded
from flambe_ansible.errors import ClusterConfigurationError, ClusterError
from flambe_ansible.hosts import Host, Role, factory_name, make_host, orchestrator_name
from flambe_ansible.inventory import RAY_UNIT
from flambe_ansible.paths import cluster_state
from flambe_ansible.sources import build_flambe
from flambe_ansible.ssh import Connections
from flambe_ansible.versions import RuntimeVersion


class Provider(ABC):
    """A cluster of one orchestrator and N factories: its configuration, its hosts, and what a provider gives.

    Args:
        name: The cluster's name; its hosts are named after it.
        factories_num: How many factories it has.
        key: Path of the user's private SSH key; the same for all hosts.
        username: The user to log in as; the same on all hosts.
        setup_cmds: Commands for bash, run in order on every host. They must be idempotent and expect no input.
        flambe_version: The release of flambe that the hosts get; None is the flambe installed here.
        flambe_source: Path of a checkout of flambe that the hosts get instead of a release.
        use_public: Whether this machine connects to public addresses; otherwise to private ones.
        strict_host_keys: Refuse a host whose key no trusted source told, instead of keeping the first key seen.
        setup_timeout: Seconds that one setup command may take.
        expose_sites: Whether TensorBoard and the report site listen for everybody, not for the orchestrator alone.
        proxy_jump: The bastion on the way to the hosts, ``[user@]host[:port]``; None is what ``~/.ssh/config`` says.

    Attributes:
        created: Names of the hosts that this object created; providers append to it.
        flambe: Which flambe the hosts get, as ``find_flambe`` said last.
        observer: Hears of every step.
    """

    provider: ClassVar[str] = ""
    login_patience: ClassVar[float] = 60.0  # seconds for which a refused login is tried again: hosts may be booting

    def __init__(
        self,
        name: str,
        factories_num: int,
        key: str,
        username: str,
        setup_cmds: list[str] | None = None,
        *,
        flambe_version: str | None = None,
        flambe_source: str | None = None,
        use_public: bool = True,
        strict_host_keys: bool = False,
        setup_timeout: float = 3600.0,
        expose_sites: bool = False,
        proxy_jump: str | None = None,
    ) -> None:
        self.name = name
        self.factories_num = factories_num
        self.key = str(Path(key).expanduser().absolute()) if key else ""
        self.username = username
        self.setup_cmds = setup_cmds
        self.flambe_version = flambe_version
        self.flambe_source = str(Path(flambe_source).expanduser().absolute()) if flambe_source else None
        self.use_public = use_public
        self.strict_host_keys = strict_host_keys
        self.setup_timeout = setup_timeout
        self.expose_sites = expose_sites
        self.proxy_jump = proxy_jump
        self.observer: events.Observer = events.ignore
        self.orchestrator: Instance | None = None
        self.factories: list[Instance] = []
        self.created: list[str] = []
        self.flambe: RuntimeVersion | None = None

    # What a provider gives.

    @abstractmethod
    def load_all_instances(self) -> None:
        """Make all hosts exist, and set ``hosts``, or get them with ``get_orchestrator`` and ``get_factory``."""

    def find_hosts(self) -> list[Host]:
        """Find what exists of the cluster now, without changing anything; the orchestrator first.

        Where a provider does not say, it is what the last launch from this machine loaded.
        """
        return records.read_hosts(self.state_dir) or self.hosts

    def plan(self) -> Plan:
        """Say what ``run`` would do, without changing anything."""
        return plan_recorded(self)

    def rollback_env(self) -> None:  # noqa: B027 - most providers create nothing
        """Remove what this object created; where nothing is created, do nothing."""

    def terminate_instances(self) -> list[Host]:
        """End every host of the cluster, and return them; where hosts are not ours to end, refuse.

        Raises:
            ClusterConfigurationError: The provider ends no hosts.
        """
        raise ClusterConfigurationError(
            f"{self.name}: the hosts of {type(self).__name__} are not this tool's to terminate; nothing was changed",
            hint=f"to stop Ray on them: flambe-ans exec CLUSTER -- sudo systemctl disable --now {RAY_UNIT}",
        )

    def check_termination(self) -> None:
        """Refuse before anything is asked, where ``terminate_instances`` would.

        Raises:
            ClusterConfigurationError: The provider ends no hosts.
        """
        if type(self).terminate_instances is Provider.terminate_instances:
            self.terminate_instances()

    def forget_hosts(self) -> None:
        """Forget the hosts that were loaded, as a provider does that has ended them."""
        self.hosts = []
        records.forget_hosts(self.state_dir)

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
        return (self.provider or f"{type(self).__module__}.{type(self).__qualname__}",)

    # What the hosts get.

    def find_flambe(self) -> RuntimeVersion:
        """Find which flambe the hosts get; a checkout is built here, unless the same content was built before.

        Raises:
            SourceError: The checkout cannot be built.
        """
        found = versions.resolve(self.flambe_version, source=self.flambe_source)
        self.flambe = build_flambe(found, observer=self.observer)
        return self.flambe

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
        loaded = [*([self.orchestrator] if self.orchestrator else []), *self.factories]
        hosts = {instance.name: instance.data for instance in loaded}
        return sorted(hosts.values(), key=lambda host: (host.role is Role.FACTORY, host.index))

    @hosts.setter
    def hosts(self, hosts: Sequence[Host]) -> None:
        ordered = sorted(hosts, key=lambda host: (host.role is Role.FACTORY, host.index))
        instances = [self._make_instance(host) for host in ordered]
        self.orchestrator = next((one for one in instances if one.data.role is Role.ORCHESTRATOR), None)
        self.factories = [one for one in instances if one.data.role is Role.FACTORY]

    def get_orchestrator(
        self, ip: str, private_ip: str | None = None, use_public: bool = True, *, port: int = 22
    ) -> Instance:
        """Make the host at an address the cluster's orchestrator.

        Args:
            ip: Its public address, or its only one.
            private_ip: The address by which the other hosts reach it.
            use_public: Whether this machine connects to ``ip``; the cluster's own ``use_public`` holds too.
            port: Where its sshd listens.

        Returns:
            The host, which can be asked at once.
        """
        self.orchestrator = self._make_instance(
            make_host(
                orchestrator_name(self.name),
                Role.ORCHESTRATOR,
                ip=ip,
                private_ip=private_ip,
                port=port,
                use_public=use_public and self.use_public,
            )
        )
        return self.orchestrator

    def get_factory(
        self, ip: str, private_ip: str | None = None, use_public: bool = True, *, port: int = 22
    ) -> Instance:
        """Make the host at an address the cluster's next factory; the arguments are those of ``get_orchestrator``.

        A host that is a factory already stays the same one.
        """
        index = max((one.data.index for one in self.factories), default=-1) + 1
        host = make_host(
            factory_name(self.name, index),
            Role.FACTORY,
            index=index,
            ip=ip,
            private_ip=private_ip,
            port=port,
            use_public=use_public and self.use_public,
        )
        known = next((one for one in self.factories if one.data.alias == host.alias), None)
        if known is not None:
            return known
        factory = self._make_instance(host)
        self.factories.append(factory)
        return factory

    def get_gpu_factory(
        self, ip: str, private_ip: str | None = None, use_public: bool = True, *, port: int = 22
    ) -> Instance:
        """Make the host at an address a factory, as ``get_factory``: what GPUs it has, the host itself is asked."""
        return self.get_factory(ip, private_ip, use_public, port=port)

    def _make_instance(self, host: Host) -> Instance:
        return Instance(host, lambda: self._reach(host))

    def _get_all_hosts(self) -> list[Instance]:
        """All hosts, factories first, as flambé has them."""
        return [*self.factories, self._get_orchestrator()]

    def _get_orchestrator(self) -> Instance:
        if self.orchestrator is None:
            raise ClusterError("the orchestrator was not loaded", hint="call run() or load_all_instances() first")
        return self.orchestrator

    @abstractmethod
    def _reach(self, host: Host) -> Connections:
        """Return the connections, after what the provider tells of the host is believed."""
