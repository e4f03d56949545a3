"""Take hosts out of a running cluster: drain and stop Ray on them, before the provider terminates them."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress
from functools import partial

from flambe_ansible.errors import ClusterBusyError, ClusterConfigurationError, ClusterNotFoundError, HostError
from flambe_ansible.events import Notice, Status, StepEvent
from flambe_ansible.fleet.fleet import Fleet
from flambe_ansible.hosts import Host, HostState, Role
from flambe_ansible.jobs.command_state import CommandJob
from flambe_ansible.jobs.fleets import Fleets
from flambe_ansible.jobs.state import JobState
from flambe_ansible.runtimes.ray_service import Drained, RayService
from flambe_ansible.ssh import on_each

TIMEOUT = 300.0  # seconds until everything on the hosts must have ended
STEP = "drain"
_COMMAND_TIMEOUT = 60.0


def check_removal(cluster: str, hosts: Sequence[Host], doomed: Sequence[Host]) -> None:
    """Check that a cluster remains without these hosts.

    Raises:
        ClusterConfigurationError: One of them is the orchestrator, or no factory would be left.
    """
    if any(host.role is Role.ORCHESTRATOR for host in doomed):
        message = f"the orchestrator of {cluster} cannot be removed; nothing was changed"
        raise ClusterConfigurationError(message, hint="flambe-ans down CLUSTER terminates all hosts")
    names = {host.name for host in doomed}
    if not any(host.role is Role.FACTORY and host.name not in names for host in hosts):
        message = f"{cluster} needs at least one factory; nothing was changed"
        raise ClusterConfigurationError(message, hint="flambe-ans down CLUSTER terminates all hosts")


def check_jobs(cluster: str, jobs: Sequence[JobState | CommandJob], *, hint: str) -> None:
    """Refuse to go on while a job runs.

    Raises:
        ClusterBusyError: A job runs; nothing was changed.
    """
    for job in jobs:
        raise ClusterBusyError(
            f"cluster {cluster} is busy: {job.name or job.id} is {job.state} since {job.since or 'just now'};"
            " nothing was changed",
            state=job.state,
            hint=hint,
        )


def end_work(hosts: Sequence[Host], heads: Sequence[Host], fleets: Fleets, *, force: bool, seconds: float) -> None:
    """Let all that runs on these hosts end.

    Args:
        hosts: The factories that are removed.
        heads: The running orchestrator, or nothing.
        fleets: Makes the fleet of these hosts.
        force: Go on although tasks run on the hosts after the limit, or although a job of another runtime runs.
        seconds: The limit.

    Raises:
        ClusterNotFoundError: The orchestrator is not running.
        ClusterBusyError: Something still runs on a host; nothing was removed.
    """
    cluster, runtime = fleets.cluster, fleets.runtime
    if not heads:
        message = f"the orchestrator of cluster {cluster} is not running; nothing was changed"
        raise ClusterNotFoundError(message, hint="flambe-ans launch CLUSTER")
    fleets.open_each([*heads, *(host for host in hosts if host.state is HostState.RUNNING)])
    fleet = fleets.make([heads[0], *hosts])
    if not (force or runtime.commands):
        check_jobs(cluster, fleets.list_active(fleet), hint="wait for it, or end it with --force")
    drain(fleet, runtime.ray, hosts, seconds=seconds, force=force, cluster=cluster)


def drain(
    fleet: Fleet, ray: RayService | None, hosts: Sequence[Host], *, seconds: float, force: bool, cluster: str
) -> None:
    """Drain and stop Ray on hosts that run; with ``force`` also if tasks still run there after the limit.

    Raises:
        ClusterBusyError: Something still runs on a host; nothing was removed.
    """
    running = [host for host in hosts if host.state is HostState.RUNNING]
    if ray is None or not running:
        return
    results = on_each(running, partial(_drain_one, fleet, ray, seconds=seconds)) if ray.drains else {}
    busy = {name: result for name, result in results.items() if not result.drained}
    reasons = [f"{name}: {one.error or ', '.join(one.running) or 'it is not idle'}" for name, one in busy.items()]
    if busy and not force:
        on_each([host for host in running if host.name not in busy], partial(_run, fleet, ray.start_command))
        raise ClusterBusyError(
            f"cluster {cluster}: Ray was not drained within {seconds:g} s; nothing was removed; {'; '.join(reasons)}."
            " Drained nodes accept no new tasks; they join again when their tasks have ended",
            hint="wait and run this again, allow more time with --timeout, or end the tasks with --force",
        )
    for reason in reasons:
        fleet.observer(Notice(message=f"{reason}; it is ended", warning=True))
    on_each(running, partial(_run, fleet, ray.stop_command))


def _drain_one(fleet: Fleet, ray: RayService, host: Host, *, seconds: float) -> Drained:
    began = time.monotonic()

    def report(status: Status, detail: str = "") -> None:
        passed = None if status is Status.RUNNING else time.monotonic() - began
        fleet.observer(StepEvent(host=host.name, step=STEP, status=status, seconds=passed, detail=detail))

    report(Status.RUNNING)
    result = ray.drain(fleet.connections, fleet.head, host, seconds=seconds)
    if result.drained:  # at once: the unit starts Ray again some seconds after it has ended
        _run(fleet, ray.stop_command, host)
    report(Status.CHANGED if result.drained else Status.FAILED, result.error)
    return result


def _run(fleet: Fleet, command: str, host: Host) -> None:
    """Run a command on a host; one that does not answer is ignored, and terminated all the same."""
    with suppress(HostError):
        fleet.connections.run(host, command, timeout=_COMMAND_TIMEOUT, check=False)
