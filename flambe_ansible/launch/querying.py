"""The query of a cluster's state: the provider, the orchestrator and all hosts are asked at once.

The hosts that answered last are asked while the provider lists the hosts. Their answers are used if they still run.
"""

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
from flambe_ansible.ssh.parallel import Background, together


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

    def ask(self, find_hosts: Callable[[], Sequence[Host]]) -> ClusterStatus:
        """Return the state of the cluster; ``find_hosts`` returns all of its hosts that exist."""
        reached = self.fleets.access().list_early()
        early = Background(lambda: self._ask_health(reached), name="flambe-ask") if _find_head(reached) else None
        hosts = find_hosts()
        running = [host for host in hosts if host.state is HostState.RUNNING]
        health, location, costs, interrupted = together(
            lambda: self._complete(early, reached, running) if early else self._ask_health(running),
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
            orchestrator=_find_head(hosts),
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

    def _complete(self, early: Background[Health], asked: Sequence[Host], running: Sequence[Host]) -> Health:
        """Use the early answers, and ask the other hosts; ask all if a host that was asked does not run any more."""
        places = {host.place for host in asked}
        first = early.wait() if places <= {host.place for host in running} else None
        if first is None:
            return self._ask_health(running)
        others = [host for host in running if host.place not in places]
        if not others:
            return first
        rest = self._ask_health(others)
        return replace(
            first,
            silent={**first.silent, **rest.silent},
            idle={**first.idle, **rest.idle},
            gpus={**first.gpus, **rest.gpus},
        )

    def _ask_health(self, running: Sequence[Host]) -> Health:
        """Ask running hosts, and the orchestrator among them for Ray and the jobs."""
        head = _find_head(running)
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


def _find_head(hosts: Sequence[Host]) -> Host | None:
    return next((host for host in hosts if host.role is Role.ORCHESTRATOR), None)
