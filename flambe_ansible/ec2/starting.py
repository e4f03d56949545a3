"""Create and start a cluster's instances: the part of a launch between the plan and the first SSH connection."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableSequence, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
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
    """Create the missing hosts: first the factories, and the orchestrator when AWS has accepted them.

    Factories are many, and often of a scarce type: if they are refused, no orchestrator is paid for. Each role gets its
    alarms right after its hosts, while the other one is created.
    """
    tasks: list[Future[list[EC2Instance]]] = []
    errors: list[BaseException] = []
    with ThreadPoolExecutor(len(missing)) as pool:
        for role in sorted(missing, key=lambda role: role is Role.ORCHESTRATOR):
            step = _CreateStep(start, role, missing[role])
            try:
                made = step.request(images[role])
            except Exception as error:
                errors.append(error)
                break
            tasks.append(pool.submit(step.finish, made))
    errors += filter(None, (task.exception() for task in tasks))
    for other in errors[1:]:
        start.observer(Notice(message=str(other), warning=True))
    if errors:
        raise errors[0]
    return [instance for task in tasks for instance in task.result()]


class _CreateStep:
    """The step ``create`` of one role's missing hosts."""

    def __init__(self, start: StartContext, role: Role, indices: Sequence[int]) -> None:
        self._start = start
        self._role = role
        self._indices = indices
        self._names = [name_of(start.cluster.name, role, index) for index in indices]
        self._began = time.monotonic()

    def request(self, image: Image) -> list[EC2Instance]:
        """Create the hosts."""
        start, role = self._start, self._role
        for name in self._names:
            start.observer(StepEvent(host=name, step="create", status=Status.RUNNING))
        request = launching.build_request(
            start.settings, image, cluster=start.cluster, role=role, indices=self._indices
        )
        with self._reporting_failure():
            made = launching.create(
                start.ec2, start.journal, request, role=role, tokens=start.tokens, sender=start.sender
            )
        start.created.extend(self._names)
        return made

    def finish(self, made: list[EC2Instance]) -> list[EC2Instance]:
        """Set the alarms of the new hosts, and return the hosts in their order."""
        with self._reporting_failure():
            _reset_alarms(self._start, made)
        for name, instance in zip(self._names, made, strict=True):
            self._report(name, Status.CHANGED, instance.id)
        return sorted(made, key=lambda instance: instance.order)

    @contextmanager
    def _reporting_failure(self) -> Iterator[None]:
        try:
            yield
        except BaseException:
            for name in self._names:
                self._report(name, Status.FAILED)
            raise

    def _report(self, name: str, status: Status, detail: str = "") -> None:
        seconds = time.monotonic() - self._began
        self._start.observer(StepEvent(host=name, step="create", status=status, seconds=seconds, detail=detail))


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
