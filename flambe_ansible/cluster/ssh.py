"""A cluster of existing hosts, reached over SSH alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, ClassVar, Unpack

from flambe_ansible import events
from flambe_ansible.cluster.cluster import Cluster
from flambe_ansible.cluster.options import ClusterOptions
from flambe_ansible.hosts import Host
from flambe_ansible.launch.launch import FailedHost
from flambe_ansible.launch.status import ClusterStatus
from flambe_ansible.providers import addresses
from flambe_ansible.providers.ssh import SSHHosts, SSHProvider
from flambe_ansible.ssh import Connections
from flambe_ansible.validation import SSH_CLUSTER, check_arguments


class SSHCluster(Cluster):
    """A cluster of existing hosts; none is created or terminated.

    The seed is flambé's ``flambe.cluster.SSHCluster``.

    Args:
        name: The cluster's name.
        orchestrator_ip: The orchestrator's address, or a pair of a public and a private one. The other hosts and Ray
            use the private one; a name is resolved on the orchestrator.
        factories_ips: The factories' addresses, each as ``orchestrator_ip``; their number is ``factories_num``.
        key: Path of the user's private SSH key, the same for all hosts.
        username: The user to log in as, the same on all hosts.
        setup_cmds: Commands for bash that run in order on every host.
        port: The port of sshd on hosts whose address has none (``address:port``).
        proxy_jump: The bastion, ``[user@]host[:port]``; None is the one in ``~/.ssh/config`` for each address.
        host_keys: SSH host keys by address; for other addresses the user's known_hosts is used.
        orchestrator_timeout: Idle hours after which the orchestrator is powered off; -1 never, 0 five minutes.
        factories_timeout: The same for the factories.
        options: The keyword arguments that all clusters share; ``Cluster`` documents them.
    """

    provider: ClassVar[str] = "ssh"
    membership_hint: ClassVar[str | None] = "add or remove hosts in factories_ips, then: flambe-ans launch CLUSTER"

    def __init__(
        self,
        name: str,
        orchestrator_ip: str | Sequence[str],
        factories_ips: Sequence[str | Sequence[str]],
        key: str,
        username: str,
        setup_cmds: list[str] | None = None,
        *,
        port: int = 22,
        proxy_jump: str | None = None,
        host_keys: Mapping[str, str | Sequence[str]] | None = None,
        orchestrator_timeout: int = -1,
        factories_timeout: int = -1,
        **options: Unpack[ClusterOptions],
    ) -> None:
        super().__init__(name, len(factories_ips), key, username, setup_cmds, proxy_jump=proxy_jump, **options)
        self.orchestrator_ip = orchestrator_ip
        self.factories_ips = factories_ips
        self.port = port
        self.host_keys = host_keys
        self.orchestrator_timeout = orchestrator_timeout
        self.factories_timeout = factories_timeout

    def parse(self) -> None:
        """Check all arguments, alone and together, without a connection.

        Raises:
            ClusterConfigurationError: An argument has a wrong value, or two hosts have the same address.
        """
        check_arguments(SSH_CLUSTER, {name: getattr(self, name) for name in SSH_CLUSTER.by_name})
        self._runtime.check()

    def load_all_instances(self) -> None:
        """Load the configured hosts."""
        self.hosts = self.find_hosts()

    def connect_each(self, *, timeout: float | None = None) -> list[FailedHost]:
        """Connect as every cluster, resolve private names, and check that each host has its private address.

        Raises:
            HostError: The orchestrator failed, or all factories.
        """
        failed = super().connect_each(timeout=timeout)
        names = {host.name for host in self.hosts}
        self._provider.resolve_names(self.connections)
        self.hosts = [host for host in self.find_hosts() if host.name in names]
        return failed + self._unload(addresses.check_each(self.connections, self.hosts))

    def status(self) -> ClusterStatus:
        """Return the state of the cluster; resolve private names first."""
        self._resolve_names()
        return super().status()

    def inventory(self) -> dict[str, Any]:
        """Return the Ansible inventory; it does not depend on this object's connections."""
        self._resolve_names()
        self._access.trust(self.find_hosts())
        return super().inventory()

    def _resolve_names(self) -> None:
        self._provider.try_to_resolve_names(self._open_orchestrator)

    @cached_property
    def _provider(self) -> SSHProvider:
        configured = SSHHosts(
            name=self.name,
            orchestrator_ip=self.orchestrator_ip,
            factories_ips=self.factories_ips,
            username=self.username,
            port=self.port,
            proxy_jump=self.proxy_jump,
            host_keys=self.host_keys,
            use_public=self.use_public,
        )
        return SSHProvider(configured, lambda: self.state_dir)

    def _open_orchestrator(self, host: Host) -> Connections:
        self._access.open([host], patience=self._limits.for_query, observer=events.ignore)
        return self.connections
