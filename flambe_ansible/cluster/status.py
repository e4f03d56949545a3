"""The state of a cluster as one word and a few facts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from flambe_ansible.cluster.ray import RayNodes
from flambe_ansible.cluster.runs import RunState
from flambe_ansible.hosts import Host, HostState, Role


class ClusterState(StrEnum):
    """What a cluster is, taken together.

    ``degraded``: a host of the configuration is missing or not running, or Ray is not alive on all.
    ``provisioning``: a launch is under way, or was not finished.
    """

    ABSENT = "absent"
    PENDING = "pending"
    PROVISIONING = "provisioning"
    RUNNING = "running"
    DEGRADED = "degraded"
    STOPPED = "stopped"
    TERMINATING = "terminating"


@dataclass(frozen=True, kw_only=True)
class ClusterStatus:
    """What is known of a cluster now.

    Attributes:
        name: The cluster's name.
        state: All in one word.
        orchestrator: Its host, or None.
        factories: Its factories, by index.
        ray: What Ray said, or None where it was not asked.
        unreachable: Why the orchestrator did not answer, or "".
        run: How the last run stands, or None where it was not asked.
    """

    name: str
    state: ClusterState
    orchestrator: Host | None = None
    factories: tuple[Host, ...] = ()
    ray: RayNodes | None = None
    unreachable: str = ""
    run: RunState | None = None

    @property
    def hosts(self) -> tuple[Host, ...]:
        """The orchestrator, then the factories."""
        return ((self.orchestrator,) if self.orchestrator else ()) + self.factories

    @property
    def ray_alive(self) -> int:
        """On how many of the hosts Ray has a live node."""
        return self.ray.count_alive(self.hosts) if self.ray else 0

    def to_dict(self) -> dict[str, Any]:
        """Return the status as the documented JSON document."""
        return {
            "name": self.name,
            "state": str(self.state),
            "orchestrator": _describe(self.orchestrator, self.ray) if self.orchestrator else None,
            "factories": [_describe(host, self.ray) for host in self.factories],
            "ray": {
                "alive": self.ray_alive,
                "version": self.ray.version if self.ray else "",
                "error": (self.ray.error if self.ray else "") or self.unreachable,
            },
            "run": self.run.to_dict() if self.run else None,
        }


def judge(
    hosts: Sequence[Host], *, factories_num: int, launching: bool, prepared: bool, ray: RayNodes | None
) -> ClusterState:
    """Say in one word what a cluster is.

    Args:
        hosts: What exists of it, terminated hosts left out.
        factories_num: How many factories its configuration wants.
        launching: Whether a launch of it is under way.
        prepared: Whether a launch has set Ray up on the orchestrator before.
        ray: What Ray said, or None.
    """
    live = [host for host in hosts if host.state is not HostState.SHUTTING_DOWN]
    if not hosts:
        return ClusterState.PROVISIONING if launching else ClusterState.ABSENT
    if not live:
        return ClusterState.TERMINATING
    states = {host.state for host in live}
    if HostState.PENDING in states:
        return ClusterState.PENDING
    if states <= {HostState.STOPPED, HostState.STOPPING}:
        return ClusterState.STOPPED
    if launching:
        return ClusterState.PROVISIONING
    has_orchestrator = any(host.role is Role.ORCHESTRATOR for host in live)
    enough = sum(host.role is Role.FACTORY for host in live) >= factories_num
    if not (has_orchestrator and enough and states == {HostState.RUNNING}):
        return ClusterState.DEGRADED
    if not prepared:
        return ClusterState.PROVISIONING
    return ClusterState.RUNNING if ray and not ray.find_missing(live) else ClusterState.DEGRADED


def _describe(host: Host, ray: RayNodes | None) -> dict[str, Any]:
    return {
        "name": host.name,
        "instance_id": host.instance_id,
        "state": str(host.state),
        "public_ip": host.public_ip,
        "private_ip": host.private_ip,
        "ray": bool(ray and host.private_ip in ray.addresses),
    }
