"""Create a cluster's missing instances: each role in one request, or in several if AWS has no room for all of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, MutableSequence, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from flambe_ansible.ec2 import alarms, launching, tags
from flambe_ansible.ec2.choices import QUOTA_CODES, Choice, is_refusal
from flambe_ansible.ec2.instances import EC2Instance
from flambe_ansible.errors import AWSError
from flambe_ansible.events import Notice, Observer, Status, StepEvent
from flambe_ansible.hosts import Role, factory_name, orchestrator_name
from flambe_ansible.journal import Journal

if TYPE_CHECKING:
    from mypy_boto3_cloudwatch.client import CloudWatchClient
    from mypy_boto3_ec2.client import EC2Client

Missing = Mapping[Role, Sequence[int]]
Choices = Mapping[Role, Sequence[Choice]]
# The hosts of one request. "We recommend that you break up a large request into smaller batches":
# https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_RunInstances.html
MOST = 100
HINT_ROOM = "launch again later, or allow more: factories_types, subnet_ids, min_factories"


@dataclass(kw_only=True)
class StartContext:
    """The clients, settings and callbacks of one start."""

    ec2: EC2Client
    get_sender: Callable[[], EC2Client]  # returns a client that sends each request once
    cloudwatch: CloudWatchClient
    cluster: tags.ClusterTags
    journal: Journal
    settings: launching.InstanceSettings
    alarm_owner: str  # the mark of the cluster's alarms
    alarm_for: Callable[[EC2Instance], Mapping[str, Any] | None]  # None: no alarm
    observer: Observer
    tokens: set[str]  # the tokens in use are added
    created: MutableSequence[str]  # the names of the created hosts are added
    spare: int = 0  # how many of the missing factories may stay missing


def name_of(cluster: str, role: Role, index: int) -> str:
    """Return the name of a host."""
    return orchestrator_name(cluster) if role is Role.ORCHESTRATOR else factory_name(cluster, index)


def renew_alarms(start: StartContext, found: Sequence[EC2Instance]) -> None:
    """Set the alarms of instances, except those that may stay; see ``alarms.renew``."""
    alarms.renew(start.cloudwatch, {instance.id: start.alarm_for(instance) for instance in found})


def create_hosts(start: StartContext, missing: Missing, choices: Choices) -> list[EC2Instance]:
    """Create the missing hosts: first the factories, and the orchestrator when AWS has accepted them.

    Factories are many, and often of a scarce type: if they are refused, no orchestrator is paid for. New hosts get
    their alarms right after their request, while the next one is sent.
    """
    tasks: list[Future[list[EC2Instance]]] = []
    errors: list[BaseException] = []
    with ThreadPoolExecutor(4) as pool:
        for role in sorted(missing, key=lambda role: role is Role.ORCHESTRATOR):
            filling = _Filling(start, role, list(missing[role]), list(choices[role]))
            try:
                tasks.extend(pool.submit(filling.finish, *made) for made in filling.request_all())
            except Exception as error:
                errors.append(error)
                break
    errors += filter(None, (task.exception() for task in tasks))
    for other in errors[1:]:
        start.observer(Notice(message=str(other), warning=True))
    if errors:
        raise errors[0]
    return [instance for task in tasks for instance in task.result()]


@dataclass
class _Filling:
    """The step ``create`` of one role's missing hosts: the combinations of type and subnet are requested in order.

    At no moment more hosts are requested than are missing: a request is sent when the one before it was answered.
    """

    start: StartContext
    role: Role
    left: list[int]  # the indices of the hosts that are still missing
    choices: list[Choice]  # that were not requested yet
    refusals: list[str] = field(default_factory=list)  # in words
    code: str = ""  # AWS's code of the last refusal

    def __post_init__(self) -> None:
        self._began = time.monotonic()
        self._total = len(self.left)
        spare = self.start.spare if self.role is Role.FACTORY else 0
        self._required = self._total - min(spare, self._total)
        self._alone = len(self.choices) == 1 and self._required == self._total

    def request_all(self) -> Iterator[tuple[list[str], list[EC2Instance]]]:
        """Send the requests; yield the names and the instances of each one."""
        self._report(self._names(), Status.RUNNING)
        try:
            while self.left and self.choices:
                batch = self.left[:MOST]
                made = self._request(self.choices[0], batch)
                if len(made) < len(batch):
                    self.choices.pop(0)
                names = self._names()[: len(made)]
                del self.left[: len(made)]
                if made:
                    self.start.created.extend(names)
                    yield names, made
            if self.left:
                self._settle()
        except BaseException:
            self._report(self._names(), Status.FAILED)
            raise

    def _request(self, choice: Choice, batch: Sequence[int]) -> list[EC2Instance]:
        """Request hosts of the first combination; none if AWS has no room for it."""
        start, wanted = self.start, len(batch)
        needed = self._required - (self._total - len(self.left))
        least = 1 if len(self.choices) > 1 else min(max(needed, 1), wanted)
        settings = choice.apply(start.settings, self.role)
        request = launching.build_request(
            settings, choice.image, cluster=start.cluster, role=self.role, indices=batch, least=least
        )
        try:
            made = launching.create(
                start.ec2, start.journal, request, role=self.role, tokens=start.tokens, sender=start.get_sender()
            )
        except AWSError as error:
            if self._alone or not is_refusal(error):
                raise
            self.code = error.code
            self._note(choice, error.reason or error.message)
            if error.code in QUOTA_CODES:
                self.choices[1:] = [one for one in self.choices[1:] if one.type != choice.type]
            return []
        if len(made) < wanted:
            self._note(choice, f"room for {len(made)} of {wanted} hosts")
        return made

    def _note(self, choice: Choice, reason: str) -> None:
        """Record that a combination had no room for all hosts, and report it."""
        self.refusals.append(f"{choice}: {reason}")
        then = f"; next: {self.choices[1]}" if len(self.choices) > 1 else ""
        self.start.observer(Notice(message=f"{self._label}: {self.refusals[-1]}{then}", warning=True))

    def _settle(self) -> None:
        """Accept that hosts are missing, or raise the error that lists all attempts."""
        made = self._total - len(self.left)
        if made < self._required:
            attempts = "".join(f"\n  {one}" for one in self.refusals)
            kept = f"; {made} were created" if made else ""
            raise AWSError(
                f"AWS has no room for {len(self.left)} of {self._total} hosts ({self._label}){kept}:{attempts}",
                operation="RunInstances",
                code=self.code,
                hint=HINT_ROOM,
            )
        self._report(self._names(), Status.SKIPPED, "AWS has no room")
        message = f"{len(self.left)} of {self._total} new factories are missing, which min_factories allows"
        self.start.observer(Notice(message=f"{message}; the next launch tries again", warning=True))

    def finish(self, names: Sequence[str], made: Sequence[EC2Instance]) -> list[EC2Instance]:
        """Set the alarms of new hosts, and return the hosts in their order."""
        try:
            renew_alarms(self.start, made)
        except BaseException:
            self._report(names, Status.FAILED)
            raise
        for name, instance in zip(names, made, strict=True):
            self._report([name], Status.CHANGED, instance.id)
        return sorted(made, key=lambda instance: instance.order)

    @property
    def _label(self) -> str:
        return "factories" if self.role is Role.FACTORY else "orchestrator"

    def _names(self) -> list[str]:
        return [name_of(self.start.cluster.name, self.role, index) for index in self.left]

    def _report(self, names: Sequence[str], status: Status, detail: str = "") -> None:
        seconds = None if status is Status.RUNNING else time.monotonic() - self._began
        for name in names:
            self.start.observer(StepEvent(host=name, step="create", status=status, seconds=seconds, detail=detail))
