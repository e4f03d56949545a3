"""The protection of a running job: a launch that would end it is refused."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from flambe_ansible import events
from flambe_ansible.errors import ClusterBusyError, PlaybookError
from flambe_ansible.fleet.player import Player
from flambe_ansible.hosts import Host, sort_hosts
from flambe_ansible.jobs.command_state import CommandJob
from flambe_ansible.jobs.fleets import Fleets
from flambe_ansible.jobs.state import JobState
from flambe_ansible.launch.verifying import inspect, make_receipts
from flambe_ansible.runtimes import Runtime

PROTECTED = "protected"  # the failed step of a module that refuses a change because Ray runs


def protect_jobs(head: Host, find: Callable[[], Sequence[Host]], fleets: Fleets, *, play_all: bool) -> None:
    """Refuse a launch that would end a job.

    Args:
        head: The orchestrator; it answers.
        find: Returns the hosts on which the launch may play roles; called only if a job runs.
        fleets: Makes fleets of these hosts.
        play_all: Whether the launch plays all roles.

    Raises:
        ClusterBusyError: It would.
        PlaybookError: The check failed.
    """
    jobs = fleets.list_active(fleets.make([head]))
    if not jobs:
        return
    hosts = sort_hosts(find())
    errors = fleets.open_each(hosts)
    fleet = fleets.make([host for host in hosts if host.name not in errors])
    fleet.connections.probe(fleet.hosts)
    protect(fleets.make_player(fleet), fleets.runtime, cluster=fleets.cluster, job=jobs[0], play_all=play_all)


def protect(
    player: Player, runtime: Runtime, *, cluster: str, job: JobState | CommandJob, play_all: bool = False
) -> None:
    """Refuse a launch that would end a running job; the roles that may do so are played in check mode.

    Nothing is played if the launch will not play such a role either: none differs on a host, and not ``play_all``.

    Raises:
        ClusterBusyError: Ray would be restarted, or its runtime changed, on a host on which it runs.
        PlaybookError: The check failed.
    """
    tags = [*runtime.install_tags, *([runtime.ray.tag] if runtime.ray else [])]
    if not play_all and not {*tags} & {*inspect(make_receipts(player, runtime), runtime).select().roles}:
        return
    name = job.name or job.id
    player.fleet.observer(events.Notice(message=f"{name} is {job.state}; checking that this launch does not end it"))
    quiet = replace(player, fleet=replace(player.fleet, observer=events.ignore))
    try:
        quiet.play(variables=runtime.protection, tags=tags, check=True)
    except PlaybookError as error:
        hosts: dict[str, list[str]] = {}
        for failure in error.failures:
            if failure.step == PROTECTED:
                hosts.setdefault(failure.message, []).append(failure.host)
        if not hosts:
            raise
        reasons = "; ".join(f"{', '.join(names)}: {message}" for message, names in hosts.items())
        raise ClusterBusyError(
            f"cluster {cluster} is busy: {name} is {job.state} since {job.since or 'just now'}, and this launch"
            f" would end it; nothing was changed; {reasons}",
            state=job.state,
            hint="wait for it (flambe-ans logs CLUSTER --follow), stop it (flambe-ans stop CLUSTER), or end it with"
            " flambe-ans launch CLUSTER --force",
        ) from error
