"""EC2 instances, found by their tags."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flambe_ansible.ec2 import alarms, api, console, instances, launching, session
from flambe_ansible.ec2.checks import Checked, Needs, check
from flambe_ansible.ec2.instances import EC2Instance, Existing
from flambe_ansible.ec2.launching import InstanceSettings, SettingNames
from flambe_ansible.ec2.session import ATTEMPTS
from flambe_ansible.ec2.starting import StartContext, bring_up, find_missing
from flambe_ansible.ec2.tags import ClusterTags, read_index
from flambe_ansible.errors import AWSError
from flambe_ansible.events import Notice, Observer
from flambe_ansible.fleet.access import AccessPolicy
from flambe_ansible.hosts import LIVE_STATES, Host, HostState, Location, Role
from flambe_ansible.journal import Journal
from flambe_ansible.launch import lock
from flambe_ansible.launch.plan import HostPlan
from flambe_ansible.providers import places
from flambe_ansible.providers.ec2_plan import list_notes, plan_hosts
from flambe_ansible.providers.places import Place

if TYPE_CHECKING:
    import boto3
    from mypy_boto3_cloudwatch.client import CloudWatchClient
    from mypy_boto3_ec2.client import EC2Client
    from mypy_boto3_ssm.client import SSMClient

FIELD_NAMES = SettingNames(
    types={Role.ORCHESTRATOR: "orchestrator_type", Role.FACTORY: "factories_type"},
    images={Role.ORCHESTRATOR: "orchestrator_ami", Role.FACTORY: "factory_ami"},
    key_name="key_name",
    key="key",
    security_group="security_group",
    subnet_id="subnet_id",
    volume_size="volume_size",
)
FRESH_SECONDS = 300.0  # an instance that started this recently may not have printed its host keys yet
KEYS_WAIT = 60.0


class Clients:
    """The API clients of one cluster, created at their first use.

    Args:
        make_session: Returns the boto3 session.
        endpoint_url: Returns the API's address; None is AWS's own, or what the environment has.
    """

    def __init__(self, make_session: Callable[[], boto3.Session], endpoint_url: Callable[[], str | None]) -> None:
        self._make_session = make_session
        self._endpoint_url = endpoint_url

    @property
    def endpoint_url(self) -> str | None:
        """The API's address; None is AWS's own."""
        return self._endpoint_url()

    @cached_property
    def session(self) -> boto3.Session:
        """The session."""
        return self._make_session()

    @cached_property
    def ec2(self) -> EC2Client:
        """The client of EC2."""
        client: EC2Client = self.make("ec2")
        return client

    @cached_property
    def sender(self) -> EC2Client:
        """The client of EC2 that sends each request once; ``launching`` repeats a creation itself."""
        client: EC2Client = self.make("ec2", attempts=1)
        return client

    @cached_property
    def cloudwatch(self) -> CloudWatchClient:
        """The client of CloudWatch."""
        client: CloudWatchClient = self.make("cloudwatch", attempts=10)  # other users of the account count too
        return client

    @cached_property
    def ssm(self) -> SSMClient:
        """The client of SSM."""
        client: SSMClient = self.make("ssm")
        return client

    @cached_property
    def account(self) -> str:
        """The account's id; "" if STS does not answer."""
        try:
            return api.get_account(self.make("sts"))
        except AWSError:
            return ""

    @property
    def region(self) -> str:
        """The region."""
        return self.ec2.meta.region_name

    def make(self, service: str, *, attempts: int = ATTEMPTS) -> Any:
        """Create a client of a service, which sends a request at most so many times."""
        return session.make_client(self.session, service, endpoint_url=self.endpoint_url, attempts=attempts)


@dataclass(frozen=True, kw_only=True)
class EC2Spec:
    """The wanted cluster.

    Attributes:
        tags: The cluster's tags.
        factories_num: The number of factories.
        settings: What hosts are created with.
        timeouts: Idle hours of each role after which its hosts power themselves off; the alarms of ``alarms.NEVER``
            do not exist, others wait for longer.
        alarm_percent: The threshold of the alarms, in percent of all CPUs.
        needs: What the cluster needs of its network and hosts.
    """

    tags: ClusterTags
    factories_num: int
    settings: InstanceSettings
    timeouts: Mapping[Role, int]
    alarm_percent: float
    needs: Needs

    @property
    def name(self) -> str:
        """The cluster's name."""
        return self.tags.name

    @property
    def alarm_owner(self) -> str:
        """The mark by which the cluster's alarms are found."""
        return alarms.describe_owner(self.tags.name, self.tags.creator)


class AWSProvider:
    """The hosts of an ``AWSCluster``.

    Args:
        spec: Returns the wanted cluster.
        clients: The API clients.
        state_dir: Returns the cluster's state folder, which has its journal and lock.
    """

    access = AccessPolicy()
    records_hosts = False

    def __init__(self, spec: Callable[[], EC2Spec], clients: Clients, state_dir: Callable[[], Path]) -> None:
        self._get_spec = spec
        self._clients = clients
        self._state_dir = state_dir
        self._replaced: set[str] = set()  # ids of the instances that the next creation replaces
        self._creates = False  # whether ``create`` was called
        self._shown: set[str] = set()  # the notes that a plan has shown
        self._tokens: set[str] = set()  # of the creations of this object
        self._checked: tuple[dict[Role, int], Checked] | None = None  # the plan's checks, for the launch that follows

    @property
    def spec(self) -> EC2Spec:
        """The wanted cluster."""
        return self._get_spec()

    @property
    def journal(self) -> Journal:
        """The journal of the cluster's creations."""
        return Journal(self._state_dir())

    def identity(self) -> tuple[str, ...]:
        """Return creator, region and endpoint."""
        return (self.spec.tags.creator, self._clients.region, self._clients.endpoint_url or "")

    def location(self) -> Location:
        """Return region and account, and a note for each other place in which this machine created the cluster."""
        here = self._place
        notes = [
            f"this machine also created a cluster {here.cluster} in {other}, which is not part of this one"
            for other in places.find_others(self._state_dir(), here)
        ]
        return Location(region=here.region, account=here.account, notes=tuple(notes))

    @property
    def _place(self) -> Place:
        clients, tags = self._clients, self.spec.tags
        return Place(
            cluster=tags.name,
            creator=tags.creator,
            endpoint=clients.endpoint_url or "",
            region=clients.region,
            account=clients.account,
        )

    def find(self, *, strict: bool = True) -> list[Host]:
        """Return the live hosts, the orchestrator first, then hosts that are shutting down.

        Args:
            strict: Fail if there are two orchestrators.

        Raises:
            ClusterError: There are two orchestrators.
        """
        found = instances.find(self._clients.ec2, self.spec.tags, [*LIVE_STATES, HostState.SHUTTING_DOWN])
        if not strict:
            return [self._make_host(one.name, one) for one in found]
        live = self.arrange([instance for instance in found if instance.state in LIVE_STATES])
        ending = [instance for instance in found if instance.state is HostState.SHUTTING_DOWN]
        return self._make_hosts(live) + [self._make_host(one.name, one) for one in ending]

    def find_existing(self) -> Existing:
        """Return the live instances by role and index."""
        return self.arrange(instances.find(self._clients.ec2, self.spec.tags))

    def plan(self) -> HostPlan:
        """Check all that a creation needs, and return what a launch would do; change nothing."""
        spec, existing = self.spec, self.find_existing()
        missing = find_missing(existing, spec.factories_num)
        checked = self._check(missing)
        location = self.location()
        changes = list_notes(spec.name, existing, spec.settings, spec.factories_num)
        notes = (*location.notes, *checked.notes, *changes)
        self._shown.update(notes)
        hosts = plan_hosts(spec.name, existing, missing, spec.settings, checked, make_host=self._make_host)
        return HostPlan(region=location.region, account=location.account, hosts=hosts, notes=notes)

    def create(self, *, observer: Observer, created: list[str]) -> list[Host]:
        """Create missing hosts, start stopped ones, and update names, tags and alarms."""
        spec, journal = self.spec, self.journal
        self._creates = True
        found = launching.find_instances(self._clients.ec2, spec.tags, journal)
        existing = self.arrange(found)
        awake = {instance.id for instance in existing.all if instance.state is HostState.RUNNING}
        missing = find_missing(existing, spec.factories_num)
        checked = self._check(missing)
        for note in (*checked.notes, *list_notes(spec.name, existing, spec.settings, spec.factories_num)):
            if note not in self._shown:
                observer(Notice(message=note))
        self._end([instance for instance in found if instance.id in self._replaced])
        start = StartContext(
            ec2=self._clients.ec2,
            sender=self._clients.sender,
            cloudwatch=self._clients.cloudwatch,
            cluster=spec.tags,
            journal=journal,
            settings=replace(spec.settings, public_address=checked.public_address),
            alarm_owner=spec.alarm_owner,
            alarm_for=self.build_alarm,
            observer=observer,
            tokens=self._tokens,
            created=created,
        )
        places.record(self._state_dir(), self._place)
        hosts = self._make_hosts(bring_up(start, existing, missing, checked.images))
        self._replaced.clear()
        return [host if host.instance_id in awake else replace(host, started=time.time()) for host in hosts]

    def replace(self, hosts: Sequence[Host]) -> None:
        """Plan to terminate these hosts and to create them anew; ``create`` does it."""
        self._replaced = {host.instance_id for host in hosts if host.instance_id}

    def terminate(self) -> list[Host]:
        """Terminate every instance with the cluster's tags, and remove its alarms; check that both are gone."""
        with lock.hold(self._state_dir()):
            journal, tags = self.journal, self.spec.tags
            found = launching.find_instances(self._clients.ec2, tags, journal, settle=True)
            ending = instances.find(self._clients.ec2, tags, [HostState.SHUTTING_DOWN])
            self._end([*found, *ending])
            self._remove_alarms()
            journal.close({creation.token for creation in journal.unfinished()}, "terminated")
            places.forget(self._state_dir(), self._place)
        return [replace(self._make_host(one.name, one), state=HostState.TERMINATED) for one in found]

    def roll_back(self, *, unfinished: bool = False) -> set[str]:
        """Terminate the hosts that this object created, or with ``unfinished`` also those of killed launches."""
        journal, tokens = self.journal, set(self._tokens)
        if unfinished:
            tokens |= {creation.token for creation in journal.unfinished()}
        if not tokens:
            return set()
        own = launching.find_own(self._clients.ec2, self.spec.tags, journal, tokens)
        self._end(own)
        journal.close(tokens, "rolled back")
        if not instances.find(self._clients.ec2, self.spec.tags):
            places.forget(self._state_dir(), self._place)
        self._tokens.clear()
        return {instance.id for instance in own}

    def host_keys(self, host: Host) -> list[str] | None:
        """Return the host keys on the instance's console; None if it shows none."""
        if host.instance_id is None:
            return None
        wait = KEYS_WAIT if self._creates and host.age < FRESH_SECONDS else 0.0
        return console.read_host_keys(self._clients.ec2, host.instance_id, wait=wait)

    def jump_keys(self) -> Mapping[str, Sequence[str]]:
        """Return no keys."""
        return {}

    # Alarms.

    def build_alarm(self, instance: EC2Instance) -> Mapping[str, Any] | None:
        """Return the idle alarm of an instance; None if its role has none."""
        hours = self.spec.timeouts[instance.role]
        if hours == alarms.NEVER:
            return None
        return self.build_alarm_of(instance.id, alarms.minutes_of(hours), self.spec.alarm_percent)

    def build_alarm_of(
        self, instance_id: str, minutes: int, cpu_thresh: float = alarms.CPU_THRESHOLD
    ) -> Mapping[str, Any]:
        """Return the alarm that terminates an instance after so many minutes below a CPU use (percent)."""
        return alarms.build_alarm(
            instance_id,
            minutes=minutes,
            region=self._clients.region,
            partition=self._clients.ec2.meta.partition,
            cpu_thresh=cpu_thresh,
            owner=self.spec.alarm_owner,
        )

    def _remove_alarms(self) -> None:
        """Remove the remaining alarms of the cluster, also those of hosts that were terminated by others."""
        left = alarms.find_owned(self._clients.cloudwatch, self.spec.alarm_owner)
        if not left:
            return
        api.delete_alarms(self._clients.cloudwatch, left)
        left = alarms.find_owned(self._clients.cloudwatch, self.spec.alarm_owner)
        if left:
            raise AWSError(f"alarms still exist: {', '.join(left)}", operation="DeleteAlarms")

    # Helpers.

    def arrange(self, found: list[EC2Instance]) -> Existing:
        """Sort instances by role and index, without those that will be replaced."""
        return instances.arrange(self.spec.name, [one for one in found if one.id not in self._replaced])

    def _end(self, doomed: list[EC2Instance]) -> None:
        """Terminate instances and remove their alarms."""
        ids = [instance.id for instance in doomed]
        instances.terminate(self._clients.ec2, ids)
        if ids:
            alarms.remove(self._clients.cloudwatch, ids)

    def _check(self, missing: Mapping[Role, list[int]]) -> Checked:
        """Check what creating these hosts needs; the checks of a plan are reused by the launch that follows it."""
        counts = {role: len(indices) for role, indices in missing.items()}
        if not counts:
            return Checked({}, ())
        if self._checked is None or self._checked[0] != counts:
            ec2, spec = self._clients.ec2, self.spec
            checked = check(ec2, self._clients.ssm, spec.settings, counts, names=FIELD_NAMES, needs=spec.needs)
            settings = replace(spec.settings, public_address=checked.public_address)
            for role, indices in missing.items():
                image = checked.images[role]
                request = launching.build_request(settings, image, cluster=spec.tags, role=role, indices=indices)
                launching.rehearse(ec2, request)
            self._checked = (counts, checked)
        return self._checked[1]

    def _make_hosts(self, existing: Existing) -> list[Host]:
        return [self._make_host(name, instance) for name, instance in existing.named(self.spec.name)]

    def _make_host(self, name: str, instance: EC2Instance) -> Host:
        index = read_index(self.spec.name, name) or 0
        return instances.to_host(instance, name=name, index=index, use_public=self.spec.needs.public)
