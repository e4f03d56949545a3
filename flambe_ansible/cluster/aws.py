"""A cluster on AWS EC2, after flambé's ``flambe.cluster.aws.AWSCluster``: its arguments, defaults and method names.

Where flambé's methods take or return boto3's instance resources, these use ``flambe_ansible.ec2.instances.Instance``,
or an instance's id.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

from flambe_ansible import versions
from flambe_ansible.cluster import lock
from flambe_ansible.cluster.base import Cluster
from flambe_ansible.cluster.plan import Action, Plan, PlannedHost
from flambe_ansible.ec2 import alarms, console, images, instances, launching, rules, session, tidying
from flambe_ansible.ec2.checks import Checked, check
from flambe_ansible.ec2.instances import Existing, Instance
from flambe_ansible.ec2.starting import Start, bring_up, find_missing, name_of
from flambe_ansible.ec2.tags import ClusterTags, initial_name, read_index
from flambe_ansible.errors import AWSError, ClusterConfigurationError
from flambe_ansible.events import Notice
from flambe_ansible.hosts import LIVE_STATES, Host, HostState, Role
from flambe_ansible.journal import Journal

if TYPE_CHECKING:
    import boto3
    from mypy_boto3_cloudwatch.client import CloudWatchClient
    from mypy_boto3_ec2.client import EC2Client
    from mypy_boto3_ssm.client import SSMClient

FRESH_SECONDS = 300.0  # for so long after its start an instance may not have printed its host keys yet
KEYS_WAIT = 60.0


class AWSCluster(Cluster):
    """A cluster of EC2 instances, known by their tags.

    Args:
        name: The cluster's name, unique for its creator in the region.
        factories_num: How many factories it has.
        factories_type: The instance type of the factories.
        orchestrator_type: The instance type of the orchestrator.
        key_name: The name of the EC2 key pair that the hosts let in.
        security_group: The id of the hosts' security group.
        subnet_id: The subnet the hosts are created in.
        creator: Whose cluster it is; a tag that finds it again.
        key: Path of the private key of ``key_name``.
        volume_type: The root volumes' type: ``gp2``, ``gp3``, or ``io1`` with 5000 IOPS.
        region_name: The region; None is the locally configured one, else us-east-1.
        username: The user to log in as.
        tags: More tags for hosts and volumes.
        orchestrator_ami: The orchestrator's image; None is the newest Ubuntu LTS.
        factory_ami: The factories' image; None is the newest Ubuntu LTS, with NVIDIA's driver for types with GPUs.
        dedicated: Whether the hosts run on hardware that is this account's alone.
        orchestrator_timeout: Idle hours after which the orchestrator is terminated; -1 never, 0 five minutes.
        factories_timeout: The same for the factories.
        volume_size: The root volumes' size in GB.
        setup_cmds: Commands for bash, run in order on every host.
        flambe_version: The flambe that the hosts get; None is the one installed here.
        use_public: Whether to connect to public addresses, where there are any; otherwise to private ones.
        strict_host_keys: Refuse a host whose key its console does not tell.
        setup_timeout: Seconds that one setup command may take.
    """

    provider: ClassVar[str] = "aws"

    def __init__(
        self,
        name: str,
        factories_num: int,
        factories_type: str,
        orchestrator_type: str,
        key_name: str,
        security_group: str,
        subnet_id: str,
        creator: str,
        key: str,
        volume_type: str = "gp2",
        region_name: str | None = None,
        username: str = "ubuntu",
        tags: dict[str, str] | None = None,
        orchestrator_ami: str | None = None,
        factory_ami: str | None = None,
        dedicated: bool = False,
        orchestrator_timeout: int = -1,
        factories_timeout: int = 1,
        volume_size: float = 100,
        setup_cmds: list[str] | None = None,
        *,
        flambe_version: str | None = None,
        use_public: bool = True,
        strict_host_keys: bool = False,
        setup_timeout: float = 3600.0,
    ) -> None:
        super().__init__(
            name,
            factories_num,
            key,
            username,
            setup_cmds,
            flambe_version=flambe_version,
            use_public=use_public,
            strict_host_keys=strict_host_keys,
            setup_timeout=setup_timeout,
        )
        self.factories_type = factories_type
        self.orchestrator_type = orchestrator_type
        self.key_name = key_name
        self.security_group = security_group
        self.subnet_id = subnet_id
        self.creator = creator
        self.volume_type = volume_type
        self.region_name = region_name
        self.tags = tags
        self.orchestrator_ami = orchestrator_ami
        self.factory_ami = factory_ami
        self.dedicated = dedicated
        self.orchestrator_timeout = orchestrator_timeout
        self.factories_timeout = factories_timeout
        self.volume_size = volume_size
        self._tokens: set[str] = set()
        self._launched: dict[str, datetime] = {}
        self._checked: tuple[dict[Role, int], Checked] | None = None

    # Where AWS is.

    @property
    def endpoint_url(self) -> str | None:
        """Where the API answers; None is AWS's own endpoint, or what the environment says."""
        return None

    def _get_boto_session(self, region_name: str | None) -> boto3.Session:
        """Get the boto3 session; None is the locally configured region, else us-east-1."""
        return session.make_session(region_name)

    def _client(self, service: str) -> Any:
        """Make a client of the session."""
        return session.make_client(self._session, service, endpoint_url=self.endpoint_url)

    @cached_property
    def _session(self) -> boto3.Session:
        return self._get_boto_session(self.region_name)

    @cached_property
    def _ec2(self) -> EC2Client:
        client: EC2Client = self._client("ec2")
        return client

    @cached_property
    def _cloudwatch(self) -> CloudWatchClient:
        client: CloudWatchClient = self._client("cloudwatch")
        return client

    @cached_property
    def _ssm(self) -> SSMClient:
        client: SSMClient = self._client("ssm")
        return client

    def identity(self) -> tuple[str, ...]:
        """Return what tells this cluster from others of the same name: creator, region, endpoint."""
        return (self.creator, self._ec2.meta.region_name, self.endpoint_url or "")

    # Looking.

    def parse(self) -> None:
        """Check what no single field can tell, without asking AWS.

        Raises:
            ClusterConfigurationError: The factories would outlive the orchestrator, a tag is one of our own, or a
                value is beyond AWS's limits.
        """
        problems = [
            *rules.check_timeouts(self.orchestrator_timeout, self.factories_timeout),
            *rules.check_volume(self.volume_type, self.volume_size),
            *rules.check_tags(self.tags, self.creator),
        ]
        if problems:
            lines = [str(problem).removeprefix(": ") for problem in problems]
            raise ClusterConfigurationError("\n".join(lines), problems=problems)

    def plan(self) -> Plan:
        """Say what a launch would do; looks at everything a creation needs, and changes nothing.

        Raises:
            ClusterConfigurationError: Something that a creation needs does not exist or does not fit.
            AWSError: AWS cannot be asked.
            ClusterError: The cluster has two orchestrators.
        """
        existing = self._arrange(instances.find(self._ec2, self._cluster_tags))
        missing = find_missing(existing, self.factories_num)
        checked = self._check(missing)
        hosts = [self._plan_existing(name, instance) for name, instance in existing.named(self.name)]
        hosts += [self._plan_missing(role, index, checked) for role, indices in missing.items() for index in indices]
        resolved = versions.resolve(self.flambe_version)
        return Plan(
            cluster=self.name,
            provider=self.provider,
            region=self._ec2.meta.region_name,
            hosts=tuple(sorted(hosts, key=self._place_of)),
            flambe_version=resolved.version,
            flambe_origin=resolved.origin,
            notes=(*checked.notes, *self._list_notes(existing)),
        )

    def find_hosts(self) -> list[Host]:
        """Find what exists of the cluster, hosts that are just ending included, the orchestrator first."""
        found = instances.find(self._ec2, self._cluster_tags, [*LIVE_STATES, HostState.SHUTTING_DOWN])
        live = self._arrange([instance for instance in found if instance.state in LIVE_STATES])
        ending = [instance for instance in found if instance.state is HostState.SHUTTING_DOWN]
        return self._make_hosts(live) + [self._make_host(one.name, one) for one in ending]

    def expected_host_keys(self, host: Host) -> list[str] | None:
        """Return the host keys that the instance printed on its console; None where it shows none."""
        launched = self._launched.get(host.instance_id or "")
        fresh = launched is None or (datetime.now(UTC) - launched).total_seconds() < FRESH_SECONDS
        if host.instance_id is None:
            return None
        return console.read_host_keys(self._ec2, host.instance_id, wait=KEYS_WAIT if fresh else 0.0)

    def flambe_own_running_instances(self) -> Iterator[tuple[Instance, str]]:
        """Yield the cluster's running instances, each with its name."""
        for instance in instances.find(self._ec2, self._cluster_tags, [HostState.RUNNING]):
            yield instance, instance.name

    def _existing_cluster(self) -> tuple[Instance | None, list[Instance]]:
        """Return the orchestrator and the factories that exist, in any live state."""
        existing = self._arrange(instances.find(self._ec2, self._cluster_tags))
        return existing.orchestrator, list(existing.factories.values())

    # Creating and ending.

    def load_all_instances(self) -> None:
        """Make all hosts exist and run, named, tagged, and with their alarms set anew.

        Raises:
            ClusterConfigurationError: Something that a creation needs does not exist or does not fit.
            AWSError: AWS refused, or a host did not come up; launching again goes on from there.
        """
        journal = Journal(self.state_dir)
        existing = self._arrange(launching.find_instances(self._ec2, self._cluster_tags, journal))
        missing = find_missing(existing, self.factories_num)
        checked = self._check(missing)
        for note in self._list_notes(existing):
            self.observer(Notice(message=note))
        start = Start(
            ec2=self._ec2,
            cloudwatch=self._cloudwatch,
            cluster=self._cluster_tags,
            journal=journal,
            settings=self._settings,
            alarm_for=self._build_alarm,
            observer=self.observer,
            tokens=self._tokens,
            created=self.created,
        )
        self.hosts = self._make_hosts(bring_up(start, existing, missing, checked.images))

    def terminate_instances(self) -> list[Host]:
        """Terminate every instance with the cluster's tags, remove its alarms, and see that both are gone.

        Returns:
            What was terminated; empty where nothing existed.

        Raises:
            AWSError: Something is still there.
        """
        with lock.hold(self.state_dir):
            journal = Journal(self.state_dir)
            found = launching.find_instances(self._ec2, self._cluster_tags, journal, settle=True)
            ending = instances.find(self._ec2, self._cluster_tags, [HostState.SHUTTING_DOWN])
            self._end([*found, *ending])
            self._remove_alarms()
            journal.close({creation.token for creation in journal.unfinished()}, "terminated")
        self.hosts = []
        return [replace(self._make_host(one.name, one), state=HostState.TERMINATED) for one in found]

    def rollback_env(self, *, unfinished: bool = False) -> None:
        """Terminate what this object created, and nothing else.

        Args:
            unfinished: Terminate what earlier launches created too, if they were killed before their hosts ran.
        """
        journal = Journal(self.state_dir)
        tokens = set(self._tokens)
        if unfinished:
            tokens |= {creation.token for creation in journal.unfinished()}
        if not tokens:
            return
        own = launching.find_own(self._ec2, self._cluster_tags, journal, tokens)
        self._end(own)
        journal.close(tokens, "rolled back")
        gone = {instance.id for instance in own}
        self.hosts = [host for host in self.hosts if host.instance_id not in gone]
        self._tokens.clear()
        self.created.clear()

    def _end(self, doomed: list[Instance]) -> None:
        """Terminate instances and remove their alarms."""
        ids = [instance.id for instance in doomed]
        instances.terminate(self._ec2, ids)
        if ids:
            alarms.remove(self._cloudwatch, ids)

    def _remove_alarms(self) -> None:
        """Remove the alarms that are left of the cluster, also those of hosts that ended by themselves."""
        left = alarms.find_owned(self._cloudwatch, self._alarm_owner)
        if not left:
            return
        alarms.remove_named(self._cloudwatch, left)
        left = alarms.find_owned(self._cloudwatch, self._alarm_owner)
        if left:
            raise AWSError(f"alarms are still there: {', '.join(left)}", operation="DeleteAlarms")

    # Names and tags.

    def name_hosts(self) -> None:
        """Name the orchestrator and the factories, and their volumes."""
        self.update_tags()

    def update_tags(self) -> None:
        """Bring the tags of all hosts and their volumes up to date; tags that are not ours stay."""
        existing = self._arrange(instances.find(self._ec2, self._cluster_tags))
        tidying.update_tags(self._ec2, self._cluster_tags, existing.named(self.name))

    def name_instance(self, instance_id: str, name: str) -> None:
        """Give an instance another name."""
        tidying.name_instance(self._ec2, instance_id, name)

    def _get_all_tags(self) -> dict[str, str]:
        """Return the user's tags and our own, those that all hosts carry."""
        return self._cluster_tags.common

    def _get_existing_tags(self, instance: Instance) -> dict[str, str]:
        """Return the tags of an instance."""
        return dict(instance.tags)

    def _get_creation_name(self, role: str) -> str:
        """Return the name that instances of a role are created with."""
        return initial_name(self.name, Role(role))

    # Alarms.

    def _get_alarm_name(self, instance_id: str) -> str:
        """Return the name of an instance's alarm."""
        return alarms.alarm_name(instance_id)

    def has_alarm(self, instance_id: str) -> bool:
        """Tell whether an instance has its alarm."""
        return bool(alarms.find(self._cloudwatch, [instance_id]))

    def remove_existing_events(self) -> None:
        """Remove the alarms of all hosts."""
        alarms.remove(self._cloudwatch, [one.id for one in instances.find(self._ec2, self._cluster_tags)])

    def create_cloudwatch_events(self) -> None:
        """Set the alarms of all hosts as the timeouts say; their clocks start now."""
        found = instances.find(self._ec2, self._cluster_tags)
        alarms.reset(self._cloudwatch, {instance.id: self._build_alarm(instance) for instance in found})

    def _create_cloudwatch_event(
        self, instance_id: str, mins: int = 60, cpu_thresh: float = alarms.CPU_THRESHOLD
    ) -> None:
        """Set the alarm that terminates an instance after so many minutes below this CPU use (percent)."""
        alarm = self._build_alarm_of(instance_id, mins, cpu_thresh)
        alarms.reset(self._cloudwatch, {instance_id: alarm})

    def _delete_cloudwatch_event(self, instance_id: str) -> None:
        """Remove an instance's alarm."""
        alarms.remove(self._cloudwatch, [instance_id])

    def _build_alarm(self, instance: Instance) -> Mapping[str, Any] | None:
        hours = self.orchestrator_timeout if instance.role is Role.ORCHESTRATOR else self.factories_timeout
        return None if hours == alarms.NEVER else self._build_alarm_of(instance.id, alarms.minutes_of(int(hours)))

    def _build_alarm_of(
        self, instance_id: str, minutes: int, cpu_thresh: float = alarms.CPU_THRESHOLD
    ) -> Mapping[str, Any]:
        return alarms.build_alarm(
            instance_id,
            minutes=minutes,
            region=self._ec2.meta.region_name,
            partition=self._ec2.meta.partition,
            cpu_thresh=cpu_thresh,
            owner=self._alarm_owner,
        )

    @property
    def _alarm_owner(self) -> str:
        return alarms.describe_owner(self.name, self.creator)

    # Images.

    def _find_default_ami(self, _type: str) -> str | None:
        """Return the image that hosts of a type (``orchestrator`` or ``factory``) get where none is named."""
        return images.find_default_for(
            self._ec2, self._ssm, self.orchestrator_type if _type == "orchestrator" else self.factories_type
        ).id

    # Helpers.

    @property
    def _cluster_tags(self) -> ClusterTags:
        return ClusterTags(name=self.name, creator=self.creator, user_tags=dict(self.tags or {}))

    @property
    def _settings(self) -> launching.Settings:
        return launching.Settings(
            types={Role.ORCHESTRATOR: self.orchestrator_type, Role.FACTORY: self.factories_type},
            images={Role.ORCHESTRATOR: self.orchestrator_ami, Role.FACTORY: self.factory_ami},
            key_name=self.key_name,
            security_group=self.security_group,
            subnet_id=self.subnet_id,
            volume_type=self.volume_type,
            volume_size=int(self.volume_size),
            dedicated=self.dedicated,
        )

    def _check(self, missing: Mapping[Role, list[int]]) -> Checked:
        """Check what creating these hosts needs; once for the plan and the launch that follows it."""
        counts = {role: len(indices) for role, indices in missing.items()}
        if not counts:
            return Checked({}, ())
        if self._checked is None or self._checked[0] != counts:
            checked = check(self._ec2, self._ssm, self._settings, counts, public=self.use_public)
            for role, indices in missing.items():
                request = launching.build_request(
                    self._settings, checked.images[role], cluster=self._cluster_tags, role=role, indices=indices
                )
                launching.rehearse(self._ec2, request)
            self._checked = (counts, checked)
        return self._checked[1]

    def _arrange(self, found: list[Instance]) -> Existing:
        self._launched.update({instance.id: instance.launched for instance in found})
        return instances.arrange(self.name, found)

    def _make_hosts(self, existing: Existing) -> list[Host]:
        self._launched.update({instance.id: instance.launched for instance in existing.all})
        return [self._make_host(name, instance) for name, instance in existing.named(self.name)]

    def _make_host(self, name: str, instance: Instance) -> Host:
        index = read_index(self.name, name) or 0
        return instances.to_host(instance, name=name, index=index, use_public=self.use_public)

    def _place_of(self, host: PlannedHost) -> int:
        index = read_index(self.name, host.name)
        return -1 if index is None else index

    def _plan_existing(self, name: str, instance: Instance) -> PlannedHost:
        stopped = instance.state in (HostState.STOPPED, HostState.STOPPING)
        return PlannedHost(
            name=name,
            role=instance.role,
            action=Action.START if stopped else Action.REUSE,
            host=self._make_host(name, instance),
            instance_type=instance.type,
            image=instance.image,
        )

    def _plan_missing(self, role: Role, index: int, checked: Checked) -> PlannedHost:
        return PlannedHost(
            name=name_of(self.name, role, index),
            role=role,
            action=Action.CREATE,
            instance_type=self._settings.types[role],
            image=checked.images[role].id,
            image_name=checked.images[role].origin,
            volume=self._settings.volume,
        )

    def _list_notes(self, existing: Existing) -> list[str]:
        """List where what exists is not what the configuration says."""
        notes = []
        if len(existing.factories) > self.factories_num:
            notes.append(
                f"{len(existing.factories)} factories exist and factories_num is {self.factories_num}: "
                "all of them are kept"
            )
        for name, instance in existing.named(self.name):
            wanted = self._settings.types[instance.role]
            if instance.type != wanted:
                notes.append(f"{name} is a {instance.type}, the configuration says {wanted}: it is kept as it is")
        return notes
