"""What a launch would do, as data."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from typing import Any

from flambe_ansible.errors import ClusterConfigurationError, Problem
from flambe_ansible.hosts import Host, Role, factory_name, orchestrator_name
from flambe_ansible.launch.costs import Costs, HostPrice
from flambe_ansible.runtimes import RuntimeVersion

SCHEMA_VERSION = 1  # of the JSON document; new keys do not change it


class Action(StrEnum):
    """What a launch does with one host."""

    REUSE = "reuse"
    START = "start"
    CREATE = "create"
    REPLACE = "replace"


class Effect(StrEnum):
    """What a launch does about a difference between what exists and the configuration."""

    IN_PLACE = "in place"
    NEW_HOSTS = "new hosts only"
    NONE = "not applied"
    REFUSED = "refused"


@dataclass(frozen=True, kw_only=True)
class Change:
    """A difference between what exists and the configuration, in one field.

    Attributes:
        field: The field's name in the file.
        current: What exists, in words; "" for nothing.
        wanted: What the configuration has, in words; "" for nothing.
        effect: What a launch does about it.
        why: The reason, or "".
    """

    field: str
    current: str
    wanted: str
    effect: Effect
    why: str = ""


@dataclass(frozen=True, kw_only=True)
class PlannedHost:
    """One host of the plan.

    Attributes:
        name: The host's name.
        role: Its role.
        action: What the launch does with it.
        host: The existing host, or None.
        instance_type: Its type, or "" if the provider has no types.
        image: Its image's id, or "".
        image_name: The origin of the image, in words.
        volume: Its root volume in words, such as ``gp2, 100 GB, encrypted``.
        changes: The differences between the host and the configuration.
        price: What it costs, or None if the provider has no prices.
        gpus: Its NVIDIA GPUs in words: those of its type, or what nvidia-smi listed at the last launch; "" if unknown.
    """

    name: str
    role: Role
    action: Action
    host: Host | None = None
    instance_type: str = ""
    image: str = ""
    image_name: str = ""
    volume: str = ""
    changes: tuple[Change, ...] = ()
    price: HostPrice | None = None
    gpus: str = ""

    @property
    def changes_in_place(self) -> bool:
        """Whether a launch changes the existing host in place."""
        reused = self.action is Action.REUSE and any(one.effect is Effect.IN_PLACE for one in self.changes)
        return reused or self.action is Action.START


@dataclass(frozen=True, kw_only=True)
class HostPlan:
    """What a launch would do with the hosts.

    Attributes:
        region: The region, or "".
        account: The account, or "".
        hosts: The orchestrator, then the factories by index.
        notes: Messages for the user before the launch.
        resources: The resources that belong to the cluster besides its hosts, and what the launch does with them, in
            words by kind.
        changes: The differences that concern the cluster as a whole.
        costs: What the cluster costs; None if the provider has no prices.
        problems: Why a launch is refused.
    """

    region: str = ""
    account: str = ""
    hosts: tuple[PlannedHost, ...] = ()
    notes: tuple[str, ...] = ()
    resources: Mapping[str, str] = field(default_factory=dict)
    changes: tuple[Change, ...] = ()
    costs: Costs | None = None
    problems: tuple[Problem, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a launch would do.

    Attributes:
        cluster: The cluster's name.
        provider: ``aws``, ``lab``, ``ssh``, or the name of a custom class.
        region: The region, or "".
        account: The account, or "".
        hosts: The orchestrator, then the factories by index.
        runtime: The runtime's name.
        version: What the hosts get installed.
        notes: Messages for the user before the launch.
        resources: The resources that belong to the cluster besides its hosts, in words by kind.
        changes: The differences that concern the cluster as a whole.
        costs: What the cluster costs; None if the provider has no prices.
        problems: Why a launch is refused.
    """

    cluster: str
    provider: str
    region: str = ""
    account: str = ""
    hosts: tuple[PlannedHost, ...] = ()
    runtime: str = "flambe"
    version: RuntimeVersion = field(default_factory=RuntimeVersion)
    notes: tuple[str, ...] = ()
    resources: Mapping[str, str] = field(default_factory=dict)
    changes: tuple[Change, ...] = ()
    costs: Costs | None = None
    problems: tuple[Problem, ...] = ()

    @property
    def to_create(self) -> tuple[PlannedHost, ...]:
        """The hosts that do not exist yet."""
        return tuple(host for host in self.hosts if host.action is Action.CREATE)

    @property
    def to_replace(self) -> tuple[PlannedHost, ...]:
        """The hosts that are terminated and created anew."""
        return tuple(host for host in self.hosts if host.action is Action.REPLACE)

    @property
    def changes_hosts(self) -> bool:
        """Whether any host is created or started."""
        return any(host.action is not Action.REUSE for host in self.hosts)

    @property
    def counts(self) -> dict[str, int]:
        """The number of hosts to ``add``, ``change``, ``replace`` and ``start``, and of ``unchanged`` ones."""
        numbers = Counter(host.action for host in self.hosts)
        changed = sum(host.changes_in_place and host.action is Action.REUSE for host in self.hosts)
        return {
            "add": numbers[Action.CREATE],
            "change": changed,
            "replace": numbers[Action.REPLACE],
            "start": numbers[Action.START],
            "unchanged": numbers[Action.REUSE] - changed,
        }

    @property
    def changes_anything(self) -> bool:
        """Whether a launch creates, starts or changes a host, or changes the cluster as a whole."""
        whole = any(one.effect is Effect.IN_PLACE for one in self.changes)
        return whole or self.changes_hosts or any(host.changes_in_place for host in self.hosts)

    def check(self) -> None:
        """Check that a launch is not refused.

        Raises:
            ClusterConfigurationError: It is.
        """
        if self.problems:
            raise refuse(self.problems)

    def to_dict(self) -> dict[str, Any]:
        """Return the documented JSON document."""
        return {
            "schema_version": SCHEMA_VERSION,
            "cluster": self.cluster,
            "provider": self.provider,
            "region": self.region,
            "account": self.account,
            "hosts": [asdict(host) for host in self.hosts],
            "runtime": self.runtime,
            f"{self.runtime}_version": self.version.version,
            f"{self.runtime}_origin": self.version.origin,
            "notes": list(self.notes),
            "resources": dict(self.resources),
            "changes_hosts": self.changes_hosts,
            "changes": [asdict(one) for one in self.changes],
            "counts": self.counts,
            "costs": self.costs.to_dict() if self.costs else None,
            "problems": [str(one) for one in self.problems],
        }


def refuse(problems: Sequence[Problem]) -> ClusterConfigurationError:
    """Make the error of a launch that is refused before anything is created."""
    error = ClusterConfigurationError.of(problems)
    error.hint = "change the limit or the size of the cluster in the file; nothing was created or changed"
    return error


def mark_replaced(planned: Sequence[PlannedHost], hosts: Sequence[Host]) -> tuple[PlannedHost, ...]:
    """Mark those hosts of a plan that are created in place of these existing hosts."""
    old = {host.name: host for host in hosts}
    return tuple(
        replace(one, action=Action.REPLACE, host=old[one.name])
        if one.action is Action.CREATE and one.name in old
        else one
        for one in planned
    )


def plan_reuse(cluster: str, factories_num: int, hosts: Sequence[Host], *, notes: Sequence[str] = ()) -> HostPlan:
    """Plan to reuse these hosts and to create the missing ones of a cluster."""
    known = {host.name: host for host in hosts}
    names = {orchestrator_name(cluster): Role.ORCHESTRATOR}
    names |= {factory_name(cluster, index): Role.FACTORY for index in range(factories_num)}
    names |= {host.name: host.role for host in hosts}
    planned = (
        PlannedHost(name=name, role=role, action=Action.REUSE if name in known else Action.CREATE, host=known.get(name))
        for name, role in names.items()
    )
    return HostPlan(hosts=tuple(planned), notes=tuple(notes))
