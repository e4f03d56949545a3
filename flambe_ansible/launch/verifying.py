"""What a launch finds on the hosts before it changes anything, and which roles it has to play on which hosts.

Without a valid receipt on every host, all roles are played on all hosts. Otherwise only the roles that differ are, and
those that depend on them, on the hosts that differ. The ``meta/receipt.yml`` of a role names what else belongs to it:
``affects`` lists the roles that are played after it, and ``together`` says when all hosts are needed: ``always``, or
``with_head`` if the orchestrator differs. ``needs`` names the variable without which a role has nothing to do.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from flambe_ansible import events
from flambe_ansible.fleet.receipts import Receipts, Verification, list_roles, read_relations
from flambe_ansible.launch import gpus
from flambe_ansible.runtimes import ROLES, Runtime
from flambe_ansible.runtimes.ray_service import RayNodes


@dataclass(frozen=True, kw_only=True)
class Selection:
    """What to play: roles, and names of hosts; empty is all."""

    roles: Sequence[str] = ()
    hosts: Sequence[str] = ()


@dataclass(frozen=True, kw_only=True)
class Findings:
    """The hosts compared with their receipts, and Ray's nodes; None if it was not asked.

    Attributes:
        hosts: What was found on each host, by its name. A host without a live node differs in the role of Ray.
        head: The name of the orchestrator.
        nodes: Ray's nodes.
    """

    hosts: Mapping[str, Verification] = field(default_factory=dict)
    head: str = ""
    nodes: RayNodes | None = None

    @property
    def unchanged(self) -> bool:
        """Whether nothing has to be played."""
        return all(one.holds for one in self.hosts.values())

    def select(self) -> Selection:
        """Choose the roles and the hosts that have to be played."""
        differing = {name for name, one in self.hosts.items() if not one.holds}
        if not differing or any(one.reason for one in self.hosts.values()):
            return Selection()
        relations = {role: read_relations(role) for role in list_roles()}
        chosen = {role for one in self.hosts.values() for role in one.differs}
        present = {role for one in self.hosts.values() for role in one.roles} | chosen
        for role, relation in relations.items():  # in the order of the playbook; a role affects only later ones
            if role in chosen:
                chosen |= {*relation.affects} & present
        together = {relations[role].together for role in chosen}
        alone = "always" not in together and not ("with_head" in together and self.head in differing)
        return Selection(
            roles=[role for role in relations if role in chosen],
            hosts=[name for name in self.hosts if name in differing] if alone else [],
        )


def list_needed(runtime: Runtime, variables: Mapping[str, Any], *, has_gpus: bool = True) -> list[str]:
    """Return the roles that a launch plays on new hosts, in the order of the playbook.

    Others have nothing to do with this runtime, these variables and these hosts; each of their tasks would cost a
    process per host.
    """
    needs = {role: read_relations(role).needs for role in list_roles()}
    return [
        role
        for role, variable in needs.items()
        if (role not in ROLES or role in runtime.roles)
        and (not variable or variables.get(variable))
        and (has_gpus or role != gpus.ROLE)
    ]


def inspect(receipts: Receipts, runtime: Runtime, *, observer: events.Observer = events.ignore) -> Findings:
    """Compare the hosts with their receipts, and ask Ray if all of them hold; the observer receives what differs."""
    fleet, started = receipts.fleet, time.monotonic()
    for host in fleet.hosts:
        observer(events.StepEvent(host=host.name, step="verify", status=events.Status.RUNNING))
    found = Findings(hosts=_add_gpus(receipts, receipts.verify()), head=fleet.head.name)
    seconds = time.monotonic() - started
    for name in found.hosts:
        observer(events.StepEvent(host=name, step="verify", status=events.Status.OK, seconds=seconds))
    if runtime.ray and found.unchanged:
        nodes = runtime.ray.ask(fleet.connections, fleet.head)
        found = _mark(replace(found, nodes=nodes), _find_differences(receipts, nodes), runtime.ray.tag)
    for name, one in found.hosts.items():
        if one.differs:
            observer(events.Notice(message=f"{name}: {one}"))
    for reason in sorted({one.reason for one in found.hosts.values() if one.reason and one.roles}):
        observer(events.Notice(message=f"all roles are played: {reason}"))
    return found


def _add_gpus(receipts: Receipts, found: Mapping[str, Verification]) -> dict[str, Verification]:
    """Add what nvidia-smi reports: hosts whose GPUs do not work, or are new, differ in the role for them."""

    def add(name: str, one: Verification) -> Verification:
        reason = gpus.find_reason(receipts.fleet.gpus.get(name), one.roles, receipts.variables)
        return replace(one, differs={**one.differs, gpus.ROLE: reason}) if reason and not one.reason else one

    return {name: add(name, one) for name, one in found.items()}


def _find_differences(receipts: Receipts, nodes: RayNodes) -> dict[str, str]:
    """Return how Ray differs from what it should be, by host name: no live node, or another number of GPUs."""
    hosts, found = receipts.fleet.hosts, receipts.fleet.gpus
    roles = gpus.list_counted_roles(receipts.variables)
    numbers = gpus.compare_with_ray(nodes, hosts, found, roles=roles)
    differences = {name: gpus.describe_difference(*pair) for name, pair in numbers.items()}
    return {host.name: "Ray has no live node on it" for host in nodes.find_missing(hosts)} | differences


def _mark(found: Findings, differences: Mapping[str, str], role: str) -> Findings:
    """Mark hosts that differ in a role."""
    marked = {name: replace(found.hosts[name], differs={role: text}) for name, text in differences.items()}
    return replace(found, hosts={**found.hosts, **marked})
