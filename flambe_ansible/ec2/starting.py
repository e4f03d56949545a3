"""Create and start a cluster's instances: the part of a launch between the plan and the first SSH connection."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from flambe_ansible.ec2 import alarms, api, instances, launching, tagging, tags
from flambe_ansible.ec2.creating import Choices, Missing, StartContext, create_hosts, renew_alarms
from flambe_ansible.ec2.instances import EC2Instance, Existing
from flambe_ansible.events import Status, StepEvent
from flambe_ansible.hosts import HostState, Role
from flambe_ansible.journal import Stage

if TYPE_CHECKING:
    from mypy_boto3_cloudwatch.client import CloudWatchClient


def find_missing(existing: Existing, factories: int) -> dict[Role, list[int]]:
    """Return the indices of the hosts to create, by role; gaps between the factories are filled first."""
    missing: dict[Role, list[int]] = {}
    if existing.orchestrator is None:
        missing[Role.ORCHESTRATOR] = [0]
    if len(existing.factories) < factories:
        missing[Role.FACTORY] = tags.free_indices(existing.factories, factories - len(existing.factories))
    return missing


def rehearse_alarms(
    cloudwatch: CloudWatchClient,
    alarm_for: Callable[[EC2Instance], Mapping[str, Any] | None],
    existing: Existing,
    missing: Missing,
) -> None:
    """Check that missing hosts can get alarms, before anything changes; existing hosts with alarms have shown it."""
    if any(alarm_for(instance) for instance in existing.all):
        return
    alarm = make_sample_alarm(alarm_for, missing)
    if alarm:
        alarms.rehearse(cloudwatch, alarm)


def make_sample_alarm(
    alarm_for: Callable[[EC2Instance], Mapping[str, Any] | None], roles: Iterable[Role]
) -> Mapping[str, Any] | None:
    """Return an alarm of no instance, as hosts of one of these roles get; None if none of them gets one."""
    samples = (EC2Instance(id=alarms.NO_INSTANCE, state=HostState.PENDING, role=role) for role in roles)
    return next(filter(None, map(alarm_for, samples)), None)


def bring_up(start: StartContext, existing: Existing, missing: Missing, choices: Choices) -> Existing:
    """Create missing instances, start stopped ones, wait until all run, and update names, tags and alarms.

    After a failure, created instances are in the journal and have their alarms.
    """
    renew_alarms(start, existing.all)
    alarms.remove_strays(start.cloudwatch, start.ec2, start.alarm_owner, [instance.id for instance in existing.all])
    made = create_hosts(start, missing, choices) if missing else []
    together = instances.arrange(start.cluster.name, [*existing.all, *made])
    _start_and_wait(start, together)
    if missing or any(instance.state is not HostState.RUNNING for instance in existing.all):
        together = instances.arrange(
            start.cluster.name, launching.find_instances(start.ec2, start.cluster, start.journal)
        )
    tagging.update_tags(start.ec2, start.cluster, together.named(start.cluster.name))
    answered = [creation for creation in start.journal.unfinished() if creation.stage is Stage.ANSWERED]
    start.journal.close({creation.token for creation in answered}, "done")
    return together


def _start_and_wait(start: StartContext, existing: Existing) -> None:
    """Start stopped instances, and wait until all are running."""
    named = existing.named(start.cluster.name)
    names = {instance.id: name for name, instance in named}
    waiting = [instance for _, instance in named if instance.state is not HostState.RUNNING]
    if not waiting:
        return
    began = time.monotonic()
    for instance in waiting:
        start.observer(StepEvent(host=names[instance.id], step="boot", status=Status.RUNNING))
    timeout = instances.wait_seconds(instance.type for instance in waiting)
    stopping = [instance.id for instance in waiting if instance.state is HostState.STOPPING]
    if stopping:
        instances.wait_for(start.ec2, stopping, HostState.STOPPED, timeout=timeout)
    stopped = [one.id for one in waiting if one.state in (HostState.STOPPED, HostState.STOPPING)]
    if stopped:
        api.start_instances(start.ec2, stopped)

    def report(instance: EC2Instance) -> None:
        seconds = time.monotonic() - began
        detail = instance.public_ip or instance.private_ip
        name = names[instance.id]
        start.observer(StepEvent(host=name, step="boot", status=Status.OK, seconds=seconds, detail=detail))

    ids = [instance.id for instance in waiting]
    instances.wait_for(start.ec2, ids, HostState.RUNNING, timeout=timeout, on_arrival=report)
