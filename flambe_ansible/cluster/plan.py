"""What a launch would do, as plain data, before it does it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from flambe_ansible.hosts import Host, Role, factory_name, orchestrator_name

if TYPE_CHECKING:
    from flambe_ansible.cluster.provider import Provider


class Action(StrEnum):
    """What a launch does with one host."""

    REUSE = "reuse"
    START = "start"
    CREATE = "create"


@dataclass(frozen=True, kw_only=True)
class PlannedHost:
    """One host of the plan.

    Attributes:
        name: The host's name.
        role: Its part.
        action: What the launch will do.
        host: What exists of it now, or None.
        instance_type: Its type, or "" where types mean nothing.
        image: Its image's id, or "".
        image_name: Where the image comes from, in words.
        volume: Its root volume in words, such as ``gp2, 100 GB, encrypted``.
    """

    name: str
    role: Role
    action: Action
    host: Host | None = None
    instance_type: str = ""
    image: str = ""
    image_name: str = ""
    volume: str = ""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a launch would do.

    Attributes:
        cluster: The cluster's name.
        provider: ``aws``, ``lab`` or ``ssh``.
        region: The region, or "".
        hosts: The orchestrator, then the factories by index.
        flambe_version: The version that the hosts get.
        flambe_origin: Where that version comes from, in words.
        notes: What else the user should know before saying yes.
    """

    cluster: str
    provider: str
    region: str = ""
    hosts: tuple[PlannedHost, ...] = ()
    flambe_version: str = ""
    flambe_origin: str = ""
    notes: tuple[str, ...] = ()

    @property
    def to_create(self) -> tuple[PlannedHost, ...]:
        """The hosts that do not exist yet."""
        return tuple(host for host in self.hosts if host.action is Action.CREATE)

    @property
    def changes_hosts(self) -> bool:
        """Whether any host is created or started."""
        return any(host.action is not Action.REUSE for host in self.hosts)


def plan_reuse(cluster: Provider, hosts: Sequence[Host], *, notes: Sequence[str] = ()) -> Plan:
    """Plan to reuse these hosts, and to create what is missing of the cluster beside them."""
    known = {host.name: host for host in hosts}
    names = {orchestrator_name(cluster.name): Role.ORCHESTRATOR}
    names |= {factory_name(cluster.name, index): Role.FACTORY for index in range(cluster.factories_num)}
    names |= {host.name: host.role for host in hosts}
    flambe = cluster.find_flambe()
    return Plan(
        cluster=cluster.name,
        provider=cluster.provider or type(cluster).__name__,
        hosts=tuple(
            PlannedHost(
                name=name, role=role, action=Action.REUSE if name in known else Action.CREATE, host=known.get(name)
            )
            for name, role in names.items()
        ),
        flambe_version=flambe.version,
        flambe_origin=flambe.origin,
        notes=(*flambe.warnings, *notes),
    )


def plan_recorded(cluster: Provider) -> Plan:
    """Plan the launch of a provider that does not say what exists: what it loaded last is taken to be there still."""
    note = f"{type(cluster).__name__} does not tell what exists; its load_all_instances() makes or finds the hosts"
    return plan_reuse(cluster, cluster.find_hosts(), notes=[note])
