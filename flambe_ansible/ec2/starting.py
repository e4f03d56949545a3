"""Create and start a cluster's instances: the part of a launch between the plan and the first SSH connection."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, MutableSequence, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from flambe_ansible.ec2 import alarms, api, instances, launching, tagging, tags
from flambe_ansible.ec2.images import Image
from flambe_ansible.ec2.instances import EC2Instance, Existing
from flambe_ansible.events import Notice, Observer, Status, StepEvent
from flambe_ansible.hosts import HostState, Role, factory_name, orchestrator_name
from flambe_ansible.journal import Journal, Stage

if TYPE_CHECKING:
    from mypy_boto3_cloudwatch.client import CloudWatchClient
    from mypy_boto3_ec2.client import EC2Client

Missing = Mapping[Role, Sequence[int]]


@dataclass(kw_only=True)
class StartContext:
    """The clients, settings and callbacks of one start."""

    ec2: EC2Client
    sender: EC2Client  # sends each request once
    cloudwatch: CloudWatchClient
    cluster: tags.ClusterTags
    journal: Journal
    settings: launching.InstanceSettings
    alarm_owner: str  # the mark of the cluster's alarms
    alarm_for: Callable[[EC2Instance], Mapping[str, Any] | None]  # None: no alarm
    observer: Observer
    tokens: set[str]  # the tokens in use are added
    created: MutableSequence[str]  # the names of the created hosts are added


def find_missing(existing: Existing, factories: int) -> dict[Role, list[int]]:
    """Return the indices of the hosts to create, by role; gaps between the factories are filled first."""
    missing: dict[Role, list[int]] = {}
    if existing.orchestrator is None:
        missing[Role.ORCHESTRATOR] = [0]
    if len(existing.factories) < factories:
        missing[Role.FACTORY] = tags.free_indices(existing.factories, factories - len(existing.factories))
    return missing


def name_of(cluster: str, role: Role, index: int) -> str:
    """Return the name of a host."""
    return orchestrator_name(cluster) if role is Role.ORCHESTRATOR else factory_name(cluster, index)


def bring_up(start: StartContext, existing: Existing, missing: Missing, images: Mapping[Role, Image]) -> Existing:
    """Create missing instances, start stopped ones, wait until all run, and update names, tags and alarms.

    After a failure, created instances are in the journal and have their alarms.
    """
    _reset_alarms(start, existing.all)
    alarms.remove_strays(start.cloudwatch, start.ec2, start.alarm_owner, [instance.id for instance in existing.all])
    made = _create(start, missing, images) if missing else []
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


def _create(start: StartContext, missing: Missing, images: Mapping[Role, Image]) -> list[EC2Instance]:
    """Create the missing hosts of both roles at the same time."""
    with ThreadPoolExecutor(len(missing)) as pool:
        tasks = [pool.submit(_create_role, start, role, indices, images[role]) for role, indices in missing.items()]
    errors = [error for task in tasks if (error := task.exception())]
    for error in errors[1:]:
        start.observer(Notice(message=str(error), warning=True))
    if errors:
        raise errors[0]
    return [instance for task in tasks for instance in task.result()]


def _create_role(start: StartContext, role: Role, indices: Sequence[int], image: Image) -> list[EC2Instance]:
    """Create the missing hosts of one role, with their alarms."""
    began = time.monotonic()
    names = [name_of(start.cluster.name, role, index) for index in indices]
    for name in names:
        start.observer(StepEvent(host=name, step="create", status=Status.RUNNING))
    request = launching.build_request(start.settings, image, cluster=start.cluster, role=role, indices=indices)
    try:
        made = launching.create(start.ec2, start.journal, request, role=role, tokens=start.tokens, sender=start.sender)
        start.created.extend(names)
        _reset_alarms(start, made)
    except BaseException:
        for name in names:
            start.observer(StepEvent(host=name, step="create", status=Status.FAILED, seconds=time.monotonic() - began))
        raise
    seconds = time.monotonic() - began
    for name, instance in zip(names, made, strict=True):
        start.observer(StepEvent(host=name, step="create", status=Status.CHANGED, seconds=seconds, detail=instance.id))
    return sorted(made, key=lambda instance: instance.order)


def _reset_alarms(start: StartContext, found: Sequence[EC2Instance]) -> None:
    alarms.reset(start.cloudwatch, {instance.id: start.alarm_for(instance) for instance in found})


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
