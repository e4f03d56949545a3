"""The query of a cluster's state: the provider, the orchestrator and all hosts are asked at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from flambe_ansible.fleet.host_states import read_each
from flambe_ansible.fleet.idle import IdleState
from flambe_ansible.gpus import HostGpus
from flambe_ansible.hosts import Host, HostState, Location, Role
from flambe_ansible.jobs.commands import ClusterJobs
from flambe_ansible.jobs.fleets import Fleets
from flambe_ansible.launch import lock, status
from flambe_ansible.launch.costs import Costs
from flambe_ansible.launch.status import ClusterStatus, Health
from flambe_ansible.ssh.parallel import together


@dataclass(frozen=True, kw_only=True)
class StatusQuery:
    """The query of one cluster's state.

    Attributes:
        fleets: Makes fleets of its hosts.
        with_idle: Whether its hosts may end themselves.
        needed: With how many factories it is complete.
        gpu_variables: The role variables that decide how many GPUs Ray has.
        locate: Returns where its hosts are.
        measure_costs: Returns what its hosts cost; None if they have no prices.
        find_interrupted: Returns the hosts that the provider ended by itself.
    """

    fleets: Fleets
    with_idle: bool
    needed: int
    gpu_variables: Mapping[str, Any]
    locate: Callable[[], Location]
    measure_costs: Callable[[], Costs | None]
    find_interrupted: Callable[[], Sequence[Host]]

    def ask(self, hosts: Sequence[Host]) -> ClusterStatus:
        """Return the state of the cluster with these hosts, which are all that exist."""
        head = next((host for host in hosts if host.role is Role.ORCHESTRATOR), None)
        health, location, costs, interrupted = together(
            lambda: self._ask_health(head, [host for host in hosts if host.state is HostState.RUNNING]),
            self.locate,
            lambda: self.measure_costs() if hosts else None,
            self.find_interrupted,
        )
        runtime, reserved = self.fleets.runtime, health.reserved
        has_ray = runtime.ray is not None
        launching = lock.is_held(self.fleets.state_dir()) or (reserved is not None and reserved.what == "launch")
        return ClusterStatus(
            name=self.fleets.cluster,
            state=status.derive_state(
                hosts, factories_num=self.needed, launching=launching, health=health, has_ray=has_ray
            ),
            orchestrator=head,
            factories=tuple(host for host in hosts if host.role is Role.FACTORY),
            runtime=runtime.name,
            has_ray=has_ray,
            ray=health.ray,
            unreachable=health.unreachable,
            silent=health.silent,
            run=health.job,
            reserved=reserved,
            location=location,
            jobs=health.jobs,
            idle=health.idle,
            notes=(
                *status.compare_clients(runtime, health.ray),
                *status.compare_gpus(health.ray, hosts, health, self.gpu_variables),
            ),
            gpus=health.gpus,
            costs=costs,
            interrupted=tuple(interrupted),
        )

    def _ask_health(self, head: Host | None, running: Sequence[Host]) -> Health:
        """Ask the running hosts."""
        errors = self.fleets.open_each(running, observer=self.fleets.observer)
        silent = {name: error.message for name, error in errors.items()}
        answering = [host for host in running if host.name not in errors]
        health: Health | None
        states: Mapping[str, IdleState]
        found: Mapping[str, HostGpus]
        health, (states, found) = together(
            lambda: self._ask_head(head) if head and head in answering else None,
            lambda: read_each(self.fleets.connections, answering, with_idle=self.with_idle),
        )
        if health is None:
            return Health(unreachable=silent.get(head.name, "") if head else "", silent=silent, idle=states, gpus=found)
        return replace(health, silent=silent, idle=states, gpus=found)

    def _ask_head(self, head: Host) -> Health:
        fleet, runtime = self.fleets.make([head]), self.fleets.runtime
        runner = runtime.commands
        return status.ask(
            fleet,
            runtime,
            (lambda: self.fleets.make_jobs(fleet)) if runtime.jobs else None,
            (lambda: ClusterJobs(fleet, runner)) if runner else None,
        )
