"""The state of a cluster."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from flambe_ansible.errors import FlambeAnsibleError
from flambe_ansible.fleet import reservation
from flambe_ansible.fleet.fleet import Fleet
from flambe_ansible.fleet.idle import IdleState
from flambe_ansible.fleet.reservation import Holder
from flambe_ansible.gpus import HostGpus
from flambe_ansible.hosts import Host, HostState, Location, Role
from flambe_ansible.jobs.command_state import CommandJob
from flambe_ansible.jobs.commands import ClusterJobs
from flambe_ansible.jobs.jobs import FileJobs
from flambe_ansible.jobs.state import JobState
from flambe_ansible.launch import gpus
from flambe_ansible.launch.costs import Costs
from flambe_ansible.runtimes import Runtime, ray_versions
from flambe_ansible.runtimes.ray_service import RayNodes
from flambe_ansible.ssh.parallel import together

# https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_StateReason.html
STOPPED_BY_PROVIDER = "Client.UserInitiatedShutdown"


class ClusterState(StrEnum):
    """The state of a cluster as a whole.

    ``degraded``: a configured host is missing or not running, or Ray is not alive on all hosts.
    ``provisioning``: a launch is running, or was not finished.
    ``suspended``: all hosts were stopped through the provider, as ``suspend`` does, not by their own operating systems.
    """

    ABSENT = "absent"
    PENDING = "pending"
    PROVISIONING = "provisioning"
    RUNNING = "running"
    DEGRADED = "degraded"
    STOPPED = "stopped"
    SUSPENDED = "suspended"
    TERMINATING = "terminating"


@dataclass(frozen=True, kw_only=True)
class Health:
    """What the orchestrator answered.

    Attributes:
        prepared: Whether a launch has prepared it.
        ray: Ray's nodes; None if Ray was not asked or the runtime has none.
        job: The last job; None if it was not asked or the runtime has no such jobs.
        jobs: The active jobs that are commands; None if they were not asked or the runtime has no such jobs.
        unreachable: Why the orchestrator did not answer, or "".
        reserved: Who has reserved the cluster, or None.
        silent: Why running hosts did not answer, by name.
        idle: The last check of each host that may end itself, by name.
        gpus: The GPUs of each host that answered, by name.
    """

    prepared: bool = False
    ray: RayNodes | None = None
    job: JobState | None = None
    jobs: tuple[CommandJob, ...] | None = None
    unreachable: str = ""
    reserved: Holder | None = None
    silent: Mapping[str, str] = field(default_factory=dict)
    idle: Mapping[str, IdleState] = field(default_factory=dict)
    gpus: Mapping[str, HostGpus] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class ClusterStatus:
    """What is known of a cluster now.

    Attributes:
        name: The cluster's name.
        state: The state of the cluster as a whole.
        orchestrator: Its host, or None.
        factories: Its factories, by index.
        runtime: The runtime's name.
        has_ray: Whether the runtime has Ray.
        ray: Ray's nodes; None if Ray was not asked.
        unreachable: Why the orchestrator did not answer, or "".
        silent: Why running hosts did not answer, by name.
        run: The last job; None if it was not asked.
        reserved: Who has reserved the cluster, or None.
        location: Where its hosts are.
        jobs: The active jobs that are commands; None if they were not asked.
        idle: The last check of each host that may end itself, by name.
        notes: How this machine does not fit the cluster.
        costs: What the hosts cost; None if they have no prices.
        interrupted: The hosts that the provider ended by itself and that were not replaced since.
        gpus: The GPUs of each host that answered, by name.
    """

    name: str
    state: ClusterState
    orchestrator: Host | None = None
    factories: tuple[Host, ...] = ()
    runtime: str = "flambe"
    has_ray: bool = True
    ray: RayNodes | None = None
    unreachable: str = ""
    silent: Mapping[str, str] = field(default_factory=dict)
    run: JobState | None = None
    reserved: Holder | None = None
    location: Location = field(default_factory=Location)
    jobs: tuple[CommandJob, ...] | None = None
    idle: Mapping[str, IdleState] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    costs: Costs | None = None
    interrupted: tuple[Host, ...] = ()
    gpus: Mapping[str, HostGpus] = field(default_factory=dict)

    @property
    def hosts(self) -> tuple[Host, ...]:
        """The orchestrator, then the factories."""
        return ((self.orchestrator,) if self.orchestrator else ()) + self.factories

    @property
    def ray_alive(self) -> int:
        """The number of hosts with a live Ray node."""
        return self.ray.count_alive(self.hosts) if self.ray else 0

    def to_dict(self) -> dict[str, Any]:
        """Return the documented JSON document."""
        return {
            "name": self.name,
            "state": str(self.state),
            "region": self.location.region,
            "account": self.location.account,
            "orchestrator": self._describe(self.orchestrator) if self.orchestrator else None,
            "factories": [self._describe(host) for host in self.factories],
            "interrupted": [host.name for host in self.interrupted],
            "runtime": self.runtime,
            "ray": {
                "alive": self.ray_alive,
                "version": self.ray.version if self.ray else "",
                "error": (self.ray.error if self.ray else "") or self.unreachable,
            },
            "run": self.run.to_dict() if self.run else None,
            "costs": self.costs.to_dict() if self.costs else None,
            "reservation": self.reserved.to_dict() if self.reserved else None,
            **({"jobs": [job.to_dict() for job in self.jobs]} if self.jobs is not None else {}),
            **({"notes": list(self.notes)} if self.notes else {}),
        }

    def _describe(self, host: Host) -> dict[str, Any]:
        return {
            "name": host.name,
            "instance_id": host.instance_id,
            "state": str(host.state),
            "public_ip": host.public_ip,
            "private_ip": host.private_ip,
            "instance_type": host.instance_type,
            "zone": host.zone,
            "spot": host.spot,
            "ray": bool(self.ray and host.private_ip in self.ray.addresses),
            "error": self.silent.get(host.name, ""),
            "idle": self.idle[host.name].to_dict() if host.name in self.idle else None,
            "gpus": self.gpus[host.name].to_dict() if host.name in self.gpus else None,
        }


def ask(
    fleet: Fleet,
    runtime: Runtime,
    jobs: Callable[[], FileJobs] | None,
    commands: Callable[[], ClusterJobs] | None = None,
) -> Health:
    """Ask the orchestrator for Ray's nodes, for the last job or the active ones, and who has reserved the cluster."""
    try:
        marker, ray = f"cd && test -e {runtime.marker}", runtime.ray
        found, holder, nodes, active, last = together(
            lambda: fleet.connections.ask(fleet.head, marker, about="its files", check=False),
            lambda: reservation.find_holder(fleet.connections, fleet.head),
            lambda: ray.ask(fleet.connections, fleet.head) if ray else None,
            lambda: commands().list_active() if commands else None,
            lambda: jobs().get() if jobs else None,
        )
        if found.returncode != 0:  # nothing is installed, so that these answers mean nothing
            nodes = active = None
        return Health(prepared=found.returncode == 0, ray=nodes, job=last, jobs=active, reserved=holder)
    except FlambeAnsibleError as error:
        return Health(unreachable=error.message)


def compare_gpus(
    nodes: RayNodes | None, hosts: Sequence[Host], health: Health, variables: Mapping[str, Any]
) -> list[str]:
    """Describe the hosts on which Ray has another number of GPUs than nvidia-smi; see ``gpus.compare_with_ray``."""
    if nodes is None:
        return []
    different = gpus.compare_with_ray(nodes, hosts, health.gpus, roles=gpus.list_counted_roles(variables))
    return [f"{name}: {gpus.describe_difference(*pair)}; launch again" for name, pair in different.items()]


def compare_clients(runtime: Runtime, nodes: RayNodes | None) -> tuple[str, ...]:
    """Describe why the Ray on this machine cannot be a client of the cluster; empty if it can, or if there is none."""
    if nodes is None or nodes.error or runtime.commands is None:
        return ()
    return tuple(filter(None, [ray_versions.compare_local(nodes.version, nodes.python)]))


def derive_state(
    hosts: Sequence[Host], *, factories_num: int, launching: bool, health: Health, has_ray: bool
) -> ClusterState:
    """Return the state of a cluster as a whole."""
    live = [host for host in hosts if host.state is not HostState.SHUTTING_DOWN]
    if not hosts:
        return ClusterState.PROVISIONING if launching else ClusterState.ABSENT
    if not live:
        return ClusterState.TERMINATING
    states = {host.state for host in live}
    if HostState.PENDING in states:
        return ClusterState.PENDING
    if states <= {HostState.STOPPED, HostState.STOPPING}:
        by_provider = all(host.reason == STOPPED_BY_PROVIDER for host in live)
        return ClusterState.SUSPENDED if by_provider else ClusterState.STOPPED
    if launching:
        return ClusterState.PROVISIONING
    has_orchestrator = any(host.role is Role.ORCHESTRATOR for host in live)
    enough = sum(host.role is Role.FACTORY for host in live) >= factories_num
    if health.unreachable or not (has_orchestrator and enough and states == {HostState.RUNNING}):
        return ClusterState.DEGRADED
    if not health.prepared:
        return ClusterState.PROVISIONING
    if health.silent:
        return ClusterState.DEGRADED
    healthy = not has_ray or (health.ray is not None and not health.ray.find_missing(live))
    return ClusterState.RUNNING if healthy else ClusterState.DEGRADED
