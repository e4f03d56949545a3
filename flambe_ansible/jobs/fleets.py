"""Fleets of a cluster's hosts, also of hosts that are not loaded: for a check before a launch, a query or a removal."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flambe_ansible.errors import HostError
from flambe_ansible.events import Observer, only_notices
from flambe_ansible.fleet.access import Access, Limits
from flambe_ansible.fleet.fleet import Fleet
from flambe_ansible.fleet.instance import Instance
from flambe_ansible.fleet.player import Player
from flambe_ansible.hosts import Host
from flambe_ansible.jobs.command_state import CommandJob
from flambe_ansible.jobs.commands import ClusterJobs
from flambe_ansible.jobs.instances import CPUFactoryInstance, GPUFactoryInstance, HostWork, OrchestratorInstance
from flambe_ansible.jobs.jobs import FileJobs
from flambe_ansible.jobs.state import JobState
from flambe_ansible.runtimes import Runtime
from flambe_ansible.ssh import Connections


@dataclass(frozen=True, kw_only=True)
class Fleets:
    """Makes the fleets of one cluster, and what works on them.

    Attributes:
        cluster: The cluster's name.
        runtime: What its hosts get installed.
        access: Returns the connections to its hosts.
        limits: How long its hosts may take to answer.
        username: The user to log in as.
        work: Returns what its hosts use of it.
        gpu_factories: Names of factories that have GPUs, whatever their type.
        variables: Returns its role variables.
        make_jobs: Returns the jobs of a fleet that a file describes.
        state_dir: Returns its local folder.
        observer: Receives the progress.
    """

    cluster: str
    runtime: Runtime
    access: Callable[[], Access]
    limits: Limits
    username: str
    work: Callable[[], HostWork]
    gpu_factories: Collection[str]
    variables: Callable[[], Mapping[str, Any]]
    make_jobs: Callable[[Fleet], FileJobs]
    state_dir: Callable[[], Path]
    observer: Observer

    @property
    def connections(self) -> Connections:
        """The connections to its hosts."""
        return self.access().connections

    def make(self, hosts: Sequence[Host]) -> Fleet:
        """Make a fleet of hosts; the first is the orchestrator."""
        head, *others = hosts
        return self.join(self.make_orchestrator(head), [self.make_factory(host) for host in others])

    def join(self, orchestrator: Instance, factories: Sequence[Instance]) -> Fleet:
        """Make a fleet of loaded hosts."""
        return Fleet(
            connections=self.connections,
            username=self.username,
            orchestrator=orchestrator,
            factories=tuple(factories),
            observer=self.observer,
        )

    def make_orchestrator(self, host: Host) -> OrchestratorInstance:
        """Make the orchestrator of its data."""
        return OrchestratorInstance(host, lambda: self.access().reach(host), self.work)

    def make_factory(self, host: Host) -> CPUFactoryInstance:
        """Make a factory of its data."""
        made = GPUFactoryInstance if host.has_gpu or host.name in self.gpu_factories else CPUFactoryInstance
        return made(host, lambda: self.access().reach(host), self.work)

    def make_player(self, fleet: Fleet) -> Player:
        """Make what plays the roles on a fleet."""
        return Player(fleet=fleet, variables=self.variables, logs=self.state_dir() / "logs")

    def open_each(self, hosts: Sequence[Host], *, observer: Observer | None = None) -> dict[str, HostError]:
        """Connect to hosts for a query; return the errors of those that do not answer, by name.

        Without an ``observer``, the cluster's one receives the notices alone.
        """
        chosen = observer or only_notices(self.observer)
        return self.access().open_each(hosts, patience=self.limits.for_query, observer=chosen)

    def list_active(self, fleet: Fleet) -> Sequence[JobState | CommandJob]:
        """Return the jobs that a restart of Ray would end; none if the runtime has no jobs."""
        if self.runtime.commands:
            return ClusterJobs(fleet, self.runtime.commands).list_active()
        return [job for job in [self.make_jobs(fleet).get()] if job.active] if self.runtime.jobs else ()
