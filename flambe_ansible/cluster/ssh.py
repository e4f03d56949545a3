"""A cluster of hosts that are there already, reached over SSH alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

from flambe_ansible import events
from flambe_ansible.cluster import addresses
from flambe_ansible.cluster.base import Cluster
from flambe_ansible.cluster.plan import Plan, plan_reuse
from flambe_ansible.cluster.status import ClusterStatus
from flambe_ansible.errors import BastionKeyError, FlambeAnsibleError, HostKeyError
from flambe_ansible.hosts import Host, Role, factory_name, make_host, orchestrator_name
from flambe_ansible.ssh import known_hosts, user_config
from flambe_ansible.validation import SSH_CLUSTER, check_arguments
from flambe_ansible.validation.addresses import Place, known_hosts_name, parse_address, parse_jump, parse_place
from flambe_ansible.validation.ssh_rules import name_host, names_of, read_keys

ACCESS_TIMEOUT = 60.0  # seconds for all hosts to take a login; they are there, and may at most be rebooting


class SSHCluster(Cluster):
    """A cluster of hosts that the user has; nothing is created, and nothing is terminated.

    The seed is flambé's ``flambe.cluster.SSHCluster``.

    Args:
        name: The cluster's name.
        orchestrator_ip: Where the orchestrator is: an address, or a pair of a public and a private one. The private
            one is for the other hosts and Ray; a name is resolved on the orchestrator.
        factories_ips: Where the factories are, each as ``orchestrator_ip``; their number is ``factories_num``.
        key: Path of the user's private SSH key, the same for all hosts.
        username: The user to log in as, the same on all hosts.
        setup_cmds: Commands for bash, run in order on every host.
        port: The port of sshd on hosts whose address names none (``address:port``).
        proxy_jump: The bastion, ``[user@]host[:port]``; None is what ``~/.ssh/config`` says for each address.
        host_keys: SSH host keys by address; of addresses that are not here, the user's known_hosts is believed.
        flambe_version: The release of flambe that the hosts get; None is the flambe installed here.
        flambe_source: Path of a checkout of flambe that the hosts get instead of a release.
        use_public: Whether this machine connects to the first address of a pair, or to the second.
        strict_host_keys: Refuse a host whose key neither ``host_keys`` nor the user's known_hosts tell.
        setup_timeout: Seconds that one setup command may take.
        expose_sites: Whether TensorBoard and the report site listen for everybody, not for the orchestrator alone.
    """

    provider: ClassVar[str] = "ssh"
    login_patience: ClassVar[float] = 5.0

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
        flambe_version: str | None = None,
        flambe_source: str | None = None,
        use_public: bool = True,
        strict_host_keys: bool = False,
        setup_timeout: float = 3600.0,
        expose_sites: bool = False,
    ) -> None:
        super().__init__(
            name,
            len(factories_ips),
            key,
            username,
            setup_cmds,
            flambe_version=flambe_version,
            flambe_source=flambe_source,
            use_public=use_public,
            strict_host_keys=strict_host_keys,
            setup_timeout=setup_timeout,
            expose_sites=expose_sites,
            proxy_jump=proxy_jump,
        )
        self.orchestrator_ip = orchestrator_ip
        self.factories_ips = factories_ips
        self.port = port
        self.host_keys = host_keys

    def parse(self) -> None:
        """Check all arguments, alone and together, without asking any host.

        Raises:
            ClusterConfigurationError: One is not what its field may be, or two hosts are one.
        """
        check_arguments(SSH_CLUSTER, {name: getattr(self, name) for name in SSH_CLUSTER.by_name})

    def identity(self) -> tuple[str, ...]:
        """Return what tells this cluster from others of the same name: where its orchestrator is."""
        private = parse_place(self.orchestrator_ip).private
        return (self.provider, name_host(private, port=self.port))

    def find_hosts(self) -> list[Host]:
        """Return the hosts as they are configured; what they are now, only they themselves can tell.

        A private address that is a name is the address that the orchestrator last resolved it to.
        """
        known = addresses.read(self.state_dir)
        return [replace(host, private_ip=known.get(host.private_ip, host.private_ip)) for host in self._configured]

    def plan(self) -> Plan:
        """Say that all hosts are reused."""
        return plan_reuse(self, self.find_hosts())

    def load_all_instances(self) -> None:
        """Load the hosts; they are there already."""
        self.hosts = self.find_hosts()

    def rollback_env(self) -> None:
        """Do nothing: nothing was created."""

    def expected_host_keys(self, host: Host) -> list[str] | None:
        """Return the keys that ``host_keys`` tells of a host, else those of the user's own known_hosts."""
        place = self._places[host.name]
        told = self._told_keys
        for name in names_of(place, port=self.port):
            if name in told:
                return told[name]
        ways = dict.fromkeys((one.host, one.port or self.port) for one in (place.public, place.private))
        for address, port in sorted(ways, key=lambda way: way[0] != host.address):
            found = user_config.find_keys(address, port=port, username=self.username)
            if found:
                return found
        return None

    # Names to addresses.

    def connect(self, *, timeout: float = ACCESS_TIMEOUT) -> None:
        """Open a connection to every host, resolve private names, and check that private addresses are the hosts' own.

        Raises:
            HostKeyError: A host's key is not the one that was told.
            HostConnectionError: A host did not answer in time.
            UnsupportedHostError: A host lacks what every host must have, or a private address is not its own.
        """
        super().connect(timeout=timeout)
        self._resolve()
        self.hosts = self.find_hosts()
        addresses.check(self.connections, self.hosts)

    def status(self) -> ClusterStatus:
        """Say what the cluster is now: Ray's own answer."""
        self._resolve_first()
        return super().status()

    def inventory(self) -> dict[str, Any]:
        """Return the Ansible inventory; its connection outlives this object."""
        self._resolve_first()
        self._trust(self.find_hosts())
        return super().inventory()

    def _resolve_first(self) -> None:
        """Resolve private names that were never resolved from here; an orchestrator that is away says so later."""
        if addresses.find_names(self.find_hosts()):
            try:
                self.attach(self.find_hosts()[:1])
                self._resolve()
            except FlambeAnsibleError:
                return

    def _resolve(self) -> None:
        """Have the orchestrator resolve the private names."""
        configured = self._configured
        if addresses.find_names(configured):
            addresses.write(self.state_dir, addresses.resolve(self.connections, configured))

    # Whose keys are believed.

    def _open(self, hosts: Sequence[Host], *, timeout: float, observer: events.Observer | None = None) -> None:
        try:
            super()._open(hosts, timeout=timeout, observer=observer)
        except HostKeyError as error:
            error.hint = (
                "Somebody else may answer at this address. If you know that the host was rebuilt, correct its key in"
                " host_keys, or in your known_hosts (ssh-keygen -R)."
            )
            raise
        except BastionKeyError as error:
            if self.proxy_jump:
                error.hint = f"add it to host_keys, or log in once: ssh {self.proxy_jump}"
            raise

    def _trust(self, hosts: Sequence[Host]) -> None:
        """Believe what host_keys or the user's known_hosts tell now, even where another key was believed before."""
        self._trusted.update(host.name for host in hosts)
        for host in hosts:
            keys = self.expected_host_keys(host)
            if keys and keys != self.connections.trusted(host):
                self.connections.trust(host, keys)
        told = self._told_keys
        for hop in parse_jump(self.proxy_jump) if self.proxy_jump else ():
            name = known_hosts_name(hop.host, hop.port or 22)
            keys = told.get(name) or told.get(hop.host)
            if keys:
                known_hosts.replace(self.known_hosts, name, keys)

    @property
    def _told_keys(self) -> dict[str, list[str]]:
        """The keys of host_keys, by the names that known_hosts has; a port that is not written is any."""
        told = {}
        for text, keys in (self.host_keys or {}).items():
            address = parse_address(text)
            told[known_hosts_name(address.host, address.port) if address.port else address.host] = read_keys(keys)
        return told

    # What the configuration means.

    @property
    def _places(self) -> dict[str, Place]:
        places = {orchestrator_name(self.name): parse_place(self.orchestrator_ip)}
        return places | {factory_name(self.name, i): parse_place(one) for i, one in enumerate(self.factories_ips)}

    @property
    def _configured(self) -> list[Host]:
        return [
            make_host(
                name,
                Role.FACTORY if number else Role.ORCHESTRATOR,
                index=max(number - 1, 0),
                ip=place.public.host,
                private_ip=place.private.host if place.is_pair else None,
                port=place.public.port or self.port,
                private_port=place.private.port or self.port,
                use_public=self.use_public,
            )
            for number, (name, place) in enumerate(self._places.items())
        ]
