"""Existing hosts that are reached over SSH alone."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from flambe_ansible.errors import FlambeAnsibleError
from flambe_ansible.events import Observer
from flambe_ansible.fleet.access import AccessPolicy
from flambe_ansible.hosts import Host, Location, Role, factory_name, make_host, orchestrator_name
from flambe_ansible.launch.plan import HostPlan, plan_reuse
from flambe_ansible.providers import addresses
from flambe_ansible.providers.given import not_managed
from flambe_ansible.ssh import Connections, user_config
from flambe_ansible.ssh.known_hosts import REVOKED
from flambe_ansible.validation.addresses import (
    HostAddress,
    known_hosts_name,
    parse_address,
    parse_host_address,
    parse_jump,
)
from flambe_ansible.validation.ssh_rules import name_host, names_of, read_keys


@dataclass(frozen=True, kw_only=True)
class SSHHosts:
    """The configured hosts; the attributes are those of ``SSHCluster``."""

    name: str
    orchestrator_ip: str | Sequence[str]
    factories_ips: Sequence[str | Sequence[str]]
    username: str
    port: int
    proxy_jump: str | None
    host_keys: Mapping[str, str | Sequence[str]] | None
    use_public: bool


class SSHProvider:
    """The hosts of an ``SSHCluster``; it creates and terminates none.

    Args:
        configured: The configured hosts.
        state_dir: Returns the cluster's state folder, which keeps resolved names.
    """

    records_hosts = False
    manages_hosts = False

    def __init__(self, configured: SSHHosts, state_dir: Callable[[], Path]) -> None:
        self._configured = configured
        self._state_dir = state_dir
        jump = configured.proxy_jump
        self.access = AccessPolicy(
            login_patience=5.0,
            configured_keys_win=True,
            key_hint="Another host may answer at this address. If the host was rebuilt, correct its key in host_keys,"
            " or in your known_hosts (ssh-keygen -R).",
            bastion_hint=f"add it to host_keys, or log in once: ssh {jump}" if jump else "",
        )

    def identity(self) -> tuple[str, ...]:
        """Return the address of the orchestrator."""
        private = parse_host_address(self._configured.orchestrator_ip).private
        return ("ssh", name_host(private, port=self._configured.port))

    def location(self) -> Location:
        """Return nothing: there are no regions."""
        return Location()

    def find(self) -> list[Host]:
        """Return the configured hosts; a private name is replaced by the address that it was last resolved to."""
        known = addresses.read(self._state_dir())
        return [replace(host, private_ip=known.get(host.private_ip, host.private_ip)) for host in self.hosts]

    def find_interrupted(self) -> list[Host]:
        """Return no hosts."""
        return []

    def plan(self) -> HostPlan:
        """Plan to reuse all hosts."""
        return plan_reuse(self._configured.name, len(self._configured.factories_ips), self.find())

    def create(self, *, observer: Observer, created: list[str]) -> list[Host]:
        """Return the hosts; they exist already."""
        del observer, created
        return self.find()

    def replace(self, hosts: Sequence[Host]) -> None:
        """Refuse."""
        del hosts
        raise not_managed(self._configured.name, "SSHCluster")

    def check_suspension(self, *, force: bool = False) -> list[Host]:
        """Refuse."""
        del force
        raise not_managed(self._configured.name, "SSHCluster")

    def suspend(self, *, observer: Observer) -> None:
        """Refuse."""
        del observer
        raise not_managed(self._configured.name, "SSHCluster")

    def remove(self, hosts: Sequence[Host]) -> None:
        """Refuse."""
        del hosts
        raise not_managed(self._configured.name, "SSHCluster")

    def terminate(self) -> list[Host]:
        """Refuse."""
        raise not_managed(self._configured.name, "SSHCluster")

    def roll_back(self, *, unfinished: bool = False) -> set[str]:
        """Do nothing: no host was created."""
        del unfinished
        return set()

    def host_keys(self, host: Host) -> list[str] | None:
        """Return the keys of a host in ``host_keys``, else those in the user's known_hosts, with all revoked ones."""
        place, port = self._addresses[host.name], self._configured.port
        ways = dict.fromkeys((one.host, one.port or port) for one in (place.public, place.private))
        known = [
            user_config.find_keys(address, port=way_port, username=self._configured.username)
            for address, way_port in sorted(ways, key=lambda way: way[0] != host.address)
        ]
        revoked = [key for keys in known for key in keys if key.startswith(REVOKED)]
        configured = self._configured_keys
        names = [name for name in names_of(place, port=port) if name in configured]
        trusted = configured[names[0]] if names else next(filter(None, known), [])
        return list(dict.fromkeys([*trusted, *revoked])) or None

    def late_host_keys(self, host: Host, stop: threading.Event) -> list[str] | None:
        """Return None: keys do not appear later."""
        del host, stop
        return None

    def jump_keys(self) -> Mapping[str, Sequence[str]]:
        """Return the keys of the bastions in ``host_keys``."""
        configured, found = self._configured_keys, {}
        for hop in parse_jump(self._configured.proxy_jump) if self._configured.proxy_jump else ():
            name = known_hosts_name(hop.host, hop.port or 22)
            keys = configured.get(name) or configured.get(hop.host)
            if keys:
                found[name] = keys
        return found

    @property
    def has_unresolved_names(self) -> bool:
        """Whether a private address is a name that was never resolved from here."""
        return bool(addresses.find_names(self.find()))

    def resolve_names(self, connections: Connections) -> None:
        """Resolve private names on the orchestrator."""
        if addresses.find_names(self.hosts):
            addresses.write(self._state_dir(), addresses.resolve(connections, self.hosts))

    def try_to_resolve_names(self, open_orchestrator: Callable[[Host], Connections]) -> None:
        """Resolve private names that were never resolved; an orchestrator that cannot be reached is reported later."""
        if self.has_unresolved_names:
            try:
                self.resolve_names(open_orchestrator(self.hosts[0]))
            except FlambeAnsibleError:
                return

    @cached_property
    def hosts(self) -> list[Host]:
        """The hosts as configured."""
        configured = self._configured
        return [
            make_host(
                name,
                Role.FACTORY if number else Role.ORCHESTRATOR,
                index=max(number - 1, 0),
                ip=place.public.host,
                private_ip=place.private.host if place.is_pair else None,
                port=place.public.port or configured.port,
                private_port=place.private.port or configured.port,
                use_public=configured.use_public,
            )
            for number, (name, place) in enumerate(self._addresses.items())
        ]

    @cached_property
    def _addresses(self) -> dict[str, HostAddress]:
        name = self._configured.name
        factories = enumerate(self._configured.factories_ips)
        return {orchestrator_name(name): parse_host_address(self._configured.orchestrator_ip)} | {
            factory_name(name, index): parse_host_address(one) for index, one in factories
        }

    @cached_property
    def _configured_keys(self) -> dict[str, list[str]]:
        """The keys of host_keys by known_hosts name; an address without a port stands for every port."""
        found = {}
        for text, keys in (self._configured.host_keys or {}).items():
            address = parse_address(text)
            found[known_hosts_name(address.host, address.port) if address.port else address.host] = read_keys(keys)
        return found
