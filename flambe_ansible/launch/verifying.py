"""What a launch finds on the hosts before it changes anything, and which roles it has to play on which hosts.

Only the roles that differ are played, and those that depend on them, on the hosts that differ; a new host differs in
all roles. The ``meta/receipt.yml`` of a role names what else belongs to it: ``affects`` lists the roles that are played
after it, and ``together`` says when all hosts are needed: ``always``, or ``with_head`` if the orchestrator differs.
``needs`` names the variable without which a role has nothing to do, and ``optional`` roles are not on every host.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field, replace
from typing import Any

from flambe_ansible import events
from flambe_ansible.fleet.idle import restart_command
from flambe_ansible.fleet.inputs import list_roles, plays_once, read_inputs
from flambe_ansible.fleet.player import Player
from flambe_ansible.fleet.receipts import APART, Receipts, Verification, read_relations
from flambe_ansible.hosts import Host, Role, sort_hosts
from flambe_ansible.launch import gpus
from flambe_ansible.runtimes import ROLES, Runtime
from flambe_ansible.runtimes.ray_service import RayNodes

ONE_TIME = ("setup_cmds_rerun", "ray_node_rotate_token")  # variables of one launch; receipts do not depend on them
PLAYED_FIRST = {"ray_node": "ray_node_first"}  # the tag with which the playbook starts a role before the others
_MOST_NAMES = 3  # of hosts, in a notice


@dataclass(frozen=True, kw_only=True)
class Selection:
    """What to play: the roles of each host, by its name, in the order of the playbook; only hosts with roles."""

    by_host: Mapping[str, Sequence[str]]

    @property
    def roles(self) -> list[str]:
        """All roles, in the order of the playbook."""
        chosen = {role for roles in self.by_host.values() for role in roles}
        return [role for role in list_roles() if role in chosen]

    @property
    def tags(self) -> list[str]:
        """The tags of the playbook that play the roles. Ray starts first, unless a role that affects it is played."""
        affected = {one for role in self.roles for one in read_relations(role).affects}
        return [PLAYED_FIRST.get(role, role) if role not in affected else role for role in self.roles]

    @property
    def skipped(self) -> dict[str, list[str]]:
        """The hosts on which a role is not played, although it is on others: role -> names."""
        shared = [role for role in self.roles if not plays_once(role)]
        found = {role: [name for name, roles in self.by_host.items() if role not in roles] for role in shared}
        return {role: names for role, names in found.items() if names}


@dataclass(frozen=True, kw_only=True)
class Findings:
    """The hosts compared with their receipts, and Ray's nodes; None if it was not asked.

    Attributes:
        hosts: What was found on each host, by its name. A host without a live node differs in the role of Ray.
        head: The name of the orchestrator.
        nodes: Ray's nodes, before anything is played.
    """

    hosts: Mapping[str, Verification] = field(default_factory=dict)
    head: str = ""
    nodes: RayNodes | None = None

    @property
    def unchanged(self) -> bool:
        """Whether nothing has to be played."""
        return all(one.holds for one in self.hosts.values())

    def select(self) -> Selection:
        """Choose the roles that have to be played on each host."""
        chosen = {name: {*one.differs} for name, one in self.hosts.items()}
        before: dict[str, set[str]] = {}
        while chosen != before:
            before = deepcopy(chosen)
            for role in list_roles():
                self._extend(chosen, role)
        return Selection(
            by_host={name: [role for role in list_roles() if role in roles] for name, roles in chosen.items() if roles}
        )

    def _extend(self, chosen: Mapping[str, set[str]], role: str) -> None:
        """Add to what is chosen the other hosts that a role needs, and the roles that it affects."""
        if not any(role in roles for roles in chosen.values()):
            return
        relations = read_relations(role)
        on_all = relations.together == "always" or (relations.together == "with_head" and bool(chosen[self.head]))
        for name, roles in chosen.items():
            if self._has(name, role) and (on_all or (roles and read_inputs(role).shares)):
                roles.add(role)
            if role in roles:
                roles |= {one for one in relations.affects if self._has(name, one)}

    def _has(self, name: str, role: str) -> bool:
        return role in self.hosts[name].roles or role in self.hosts[name].differs


def make_receipts(player: Player, runtime: Runtime, *, absent: Sequence[Host] = ()) -> Receipts:
    """Return the receipts of a cluster; ``absent`` are its hosts that did not answer."""
    variables = {name: value for name, value in player.variables().items() if name not in ONE_TIME}
    return Receipts(
        fleet=player.fleet,
        members=sort_hosts([*player.fleet.hosts, *absent]),
        variables=variables,
        wanted={role: list_needed(runtime, variables, on=role) for role in Role},
        restart=restart_command(variables),
    )


def list_needed(runtime: Runtime, variables: Mapping[str, Any], *, on: Role = Role.ORCHESTRATOR) -> list[str]:
    """Return the roles that a launch plays on new hosts of a cluster's role, in the order of the playbook.

    Others have nothing to do with this runtime, these variables and these hosts; each of their tasks would cost a
    process per host.
    """
    return [
        role
        for role in list_roles()
        if (role not in ROLES or role in runtime.roles)
        and (not read_relations(role).needs or variables.get(read_relations(role).needs))
        and (on is Role.ORCHESTRATOR or not plays_once(role))
    ]


def select_all(receipts: Receipts) -> Selection:
    """Choose all roles on all hosts."""
    return Selection(by_host={host.name: _list_all(receipts, host) for host in receipts.fleet.hosts})


def _list_all(receipts: Receipts, host: Host) -> list[str]:
    """Return the roles that are played on a new host; that for GPUs if it may have some."""
    has_gpus = gpus.may_exist(receipts.fleet.gpus, [host])
    return [role for role in receipts.wanted[host.role] if role != gpus.ROLE or has_gpus]


def inspect(receipts: Receipts, runtime: Runtime, *, observer: events.Observer = events.ignore) -> Findings:
    """Compare the hosts with their receipts, and ask Ray unless it differs; the observer receives the differences."""
    fleet, started = receipts.fleet, time.monotonic()
    for host in fleet.hosts:
        observer(events.StepEvent(host=host.name, step="verify", status=events.Status.RUNNING))
    early = runtime.ray.read_answer(fleet.connections, fleet.head) if runtime.ray else None
    found = Findings(hosts=_compare_launches(_add_gpus(receipts, receipts.verify())), head=fleet.head.name)
    seconds = time.monotonic() - started
    for name in found.hosts:
        observer(events.StepEvent(host=name, step="verify", status=events.Status.OK, seconds=seconds))
    if runtime.ray and runtime.ray.tag not in found.select().roles:
        nodes = early or runtime.ray.ask(fleet.connections, fleet.head)
        found = _mark(replace(found, nodes=nodes), _find_differences(receipts, nodes), runtime.ray.tag)
    for message in describe(found.hosts):
        observer(events.Notice(message=message))
    return found


def describe(found: Mapping[str, Verification]) -> list[str]:
    """Describe how hosts differ, one line for each kind; new hosts are left out."""
    named: dict[str, list[str]] = {}
    for name, one in found.items():
        if not one.holds and not one.is_new:
            named.setdefault(str(one), []).append(name)
    return [f"{_name_hosts(names, of=len(found))}: {text}" for text, names in named.items()]


def _name_hosts(names: Sequence[str], *, of: int) -> str:
    if len(names) == of > 1:
        return "all hosts"
    return ", ".join(names) if len(names) <= _MOST_NAMES else f"{names[0]} and {len(names) - 1} other hosts"


def _add_gpus(receipts: Receipts, found: Mapping[str, Verification]) -> dict[str, Verification]:
    """Add what nvidia-smi reports: hosts whose GPUs do not work, or are new, differ in the role for them."""

    def add(host: Host, one: Verification) -> Verification:
        if one.reason:
            return replace(one, differs=dict.fromkeys(_list_all(receipts, host), one.reason))
        reason = gpus.find_reason(receipts.fleet.gpus.get(host.name), one.roles, receipts.variables)
        return replace(one, differs={**one.differs, gpus.ROLE: reason}) if reason else one

    return {host.name: add(host, found[host.name]) for host in receipts.fleet.hosts}


def _compare_launches(found: Mapping[str, Verification]) -> dict[str, Verification]:
    """Mark roles that are always played on all hosts together, if several launches or images played them."""
    together = [role for role in list_roles() if read_relations(role).together == "always"]
    launches = {role: {one.roles[role] for one in found.values() if role in one.roles} for role in together}
    apart = dict.fromkeys((role for role in together if len(launches[role]) > 1), APART)
    return {name: replace(one, differs={**apart, **one.differs}) for name, one in found.items()}


def _find_differences(receipts: Receipts, nodes: RayNodes) -> dict[str, str]:
    """Return how Ray differs from what it should be, by host name: no live node, or another number of GPUs."""
    hosts, found = receipts.fleet.hosts, receipts.fleet.gpus
    roles = gpus.list_counted_roles(receipts.variables)
    numbers = gpus.compare_with_ray(nodes, hosts, found, roles=roles)
    differences = {name: gpus.describe_difference(*pair) for name, pair in numbers.items()}
    return {host.name: "Ray has no live node on it" for host in nodes.find_missing(hosts)} | differences


def _mark(found: Findings, differences: Mapping[str, str], role: str) -> Findings:
    """Mark hosts that differ in a role."""
    marked = {
        name: replace(found.hosts[name], differs={**found.hosts[name].differs, role: text})
        for name, text in differences.items()
    }
    return replace(found, hosts={**found.hosts, **marked})
