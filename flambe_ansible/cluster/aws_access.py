"""What an ``AWSCluster`` is, and single steps on what exists of it, after flambé's ``flambe.cluster.aws.AWSCluster``.

Where flambé's methods take or return boto3's instance resources, these use
``flambe_ansible.ec2.instances.EC2Instance``, or an instance's id.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

from flambe_ansible.cluster.base import Cluster
from flambe_ansible.ec2 import alarms, images, instances, launching, session, tagging
from flambe_ansible.ec2.checks import Checked
from flambe_ansible.ec2.instances import EC2Instance, Existing
from flambe_ansible.ec2.tags import ClusterTags, initial_name
from flambe_ansible.hosts import HostState, Role
from flambe_ansible.validation import AWS_CLUSTER, Schema, check_arguments

if TYPE_CHECKING:
    import boto3
    from mypy_boto3_cloudwatch.client import CloudWatchClient
    from mypy_boto3_ec2.client import EC2Client
    from mypy_boto3_ssm.client import SSMClient


class AWSAccess(Cluster):
    """A cluster of EC2 instances, known by their tags: its configuration, and single steps on what exists.

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
        flambe_version: The release of flambe that the hosts get; None is the flambe installed here.
        flambe_source: Path of a checkout of flambe that the hosts get instead of a release.
        use_public: Whether to connect to public addresses, where there are any; otherwise to private ones.
        strict_host_keys: Refuse a host whose key its console does not tell.
        setup_timeout: Seconds that one setup command may take.
        expose_sites: Whether TensorBoard and the report site listen for everybody, not for the orchestrator alone.
    """

    provider: ClassVar[str] = "aws"
    schema: ClassVar[Schema] = AWS_CLUSTER  # what the arguments may be

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
        flambe_source: str | None = None,
        use_public: bool = True,
        strict_host_keys: bool = False,
        setup_timeout: float = 3600.0,
        expose_sites: bool = False,
    ) -> None:
        super().__init__(
            name,
            factories_num,
            key,
            username,
            setup_cmds,
            flambe_version=flambe_version,
            flambe_source=flambe_source,
            use_public=use_public,
            strict_host_keys=strict_host_keys,
            setup_timeout=setup_timeout,
            expose_sites=expose_sites,
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
        self._launched: dict[str, datetime] = {}  # when each instance that was seen was started last
        self._told: set[str] = set()  # the notes that a plan has shown
        self._tokens: set[str] = set()  # of the creations that this object asked for
        self._checked: tuple[dict[Role, int], Checked] | None = None  # what the plan's checks found, for the launch

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

    def parse(self) -> None:
        """Check all arguments, alone and together, without asking AWS.

        Raises:
            ClusterConfigurationError: One is not what its field may be, the factories would outlive the orchestrator,
                or a tag is one of our own.
        """
        check_arguments(self.schema, {name: getattr(self, name) for name in self.schema.by_name})

    def flambe_own_running_instances(self) -> Iterator[tuple[EC2Instance, str]]:
        """Yield the cluster's running instances, each with its name."""
        for instance in instances.find(self._ec2, self._cluster_tags, [HostState.RUNNING]):
            yield instance, instance.name

    def _existing_cluster(self) -> tuple[EC2Instance | None, list[EC2Instance]]:
        """Return the orchestrator and the factories that exist, in any live state."""
        existing = self._arrange(instances.find(self._ec2, self._cluster_tags))
        return existing.orchestrator, list(existing.factories.values())

    # Names and tags.

    def name_hosts(self) -> None:
        """Name the orchestrator and the factories, and their volumes."""
        self.update_tags()

    def update_tags(self) -> None:
        """Bring the tags of all hosts and their volumes up to date; tags that are not ours stay."""
        existing = self._arrange(instances.find(self._ec2, self._cluster_tags))
        tagging.update_tags(self._ec2, self._cluster_tags, existing.named(self.name))

    def name_instance(self, instance_id: str, name: str) -> None:
        """Give an instance another name."""
        tagging.name_instance(self._ec2, instance_id, name)

    def _get_all_tags(self) -> dict[str, str]:
        """Return the user's tags and our own, those that all hosts carry."""
        return self._cluster_tags.common

    def _get_existing_tags(self, instance: EC2Instance) -> dict[str, str]:
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

    def _build_alarm(self, instance: EC2Instance) -> Mapping[str, Any] | None:
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

    # What the configuration means.

    @property
    def _cluster_tags(self) -> ClusterTags:
        return ClusterTags(name=self.name, creator=self.creator, user_tags=dict(self.tags or {}))

    @property
    def _settings(self) -> launching.InstanceSettings:
        return launching.InstanceSettings(
            types={Role.ORCHESTRATOR: self.orchestrator_type, Role.FACTORY: self.factories_type},
            images={Role.ORCHESTRATOR: self.orchestrator_ami, Role.FACTORY: self.factory_ami},
            key_name=self.key_name,
            security_group=self.security_group,
            subnet_id=self.subnet_id,
            volume_type=self.volume_type,
            volume_size=int(self.volume_size),
            dedicated=self.dedicated,
        )

    def _arrange(self, found: list[EC2Instance]) -> Existing:
        self._launched.update({instance.id: instance.launched for instance in found})
        return instances.arrange(self.name, found)
