"""A cluster on AWS EC2.

It follows flambé's ``flambe.cluster.aws.AWSCluster``: the same names, arguments and order of methods. flambé's
methods take or return boto3's instance resources; these use ``ec2.instances.EC2Instance``, or an instance's id.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import ClassVar, Unpack

from flambe_ansible.cluster.cluster import Cluster
from flambe_ansible.cluster.options import ClusterOptions
from flambe_ansible.ec2 import alarms, images, instances, launching, session, tagging
from flambe_ansible.ec2.checks import Needs
from flambe_ansible.ec2.clients import Clients
from flambe_ansible.ec2.images import ARM, X86
from flambe_ansible.ec2.instances import EC2Instance
from flambe_ansible.ec2.tags import ClusterTags, initial_name
from flambe_ansible.errors import AWSError, ClusterConfigurationError
from flambe_ansible.events import Notice
from flambe_ansible.findings import Finding
from flambe_ansible.fleet.reservation import Reservation
from flambe_ansible.hosts import Host, HostState, Role
from flambe_ansible.launch.costs import Costs
from flambe_ansible.providers.aws import AWSProvider
from flambe_ansible.providers.ec2_spec import EC2Spec
from flambe_ansible.providers.lab import LabProvider
from flambe_ansible.ssh import host_entries
from flambe_ansible.validation import AWS_CLUSTER, Schema, check_arguments

LAUNCHES = ("launch", "submit", "remove")  # the commands that create or update the cluster
ARCHITECTURES = {"x86_64": X86, "aarch64": ARM}  # uname's words for a processor to EC2's


class AWSCluster(Cluster):
    """A cluster of EC2 instances, found by their tags.

    Args:
        name: The cluster's name, unique for its creator in the region.
        factories_num: How many factories it has.
        factories_type: The instance type of the factories; None with ``factories_types``.
        orchestrator_type: The instance type of the orchestrator.
        key_name: The name of the EC2 key pair that the hosts accept; None is one that belongs to the cluster.
        security_group: The id of the hosts' security group; None is one that belongs to the cluster.
        subnet_id: The subnet the hosts are created in; None is a default subnet of the region.
        creator: The owner of the cluster; a tag by which it is found. Required.
        key: Path of the private key of ``key_name``; None is the key that belongs to the cluster.
        volume_type: The root volumes' type: ``gp2``, ``gp3``, or ``io1`` with 5000 IOPS.
        region_name: The region; None is the locally configured region, else us-east-1.
        username: The user to log in as.
        tags: More tags for hosts and volumes.
        orchestrator_ami: The orchestrator's image; None is the newest Ubuntu LTS.
        factory_ami: The factories' image; None is the newest Ubuntu LTS, with NVIDIA's driver for types with GPUs.
        dedicated: Whether the hosts run on hardware that is dedicated to this account.
        orchestrator_timeout: Idle hours after which the orchestrator powers itself off, which terminates it; -1 never,
            0 five minutes.
        factories_timeout: The same for the factories.
        volume_size: The root volumes' size in GB.
        setup_cmds: Commands for bash that run in order on every host.
        ssh_sources: The networks from which the cluster's own security group lets SSH in; None is this machine.
        max_price_per_hour: What all hosts may cost per hour, in US dollars; None is no limit.
        budget: What the cluster may cost in all, in US dollars; then its hosts power themselves off. None is no limit.
        factories_types: Instead of ``factories_type``: the types of the factories, used in order.
        subnet_ids: Instead of ``subnet_id``: the subnets of the hosts, used in order.
        min_factories: With how many factories a launch succeeds if AWS has no room for all; None is all.
        factories_spot: Whether the factories are Spot Instances; a mapping has their ``max_price`` (USD per hour).
        options: The keyword arguments that all clusters share; ``Cluster`` documents them.
    """

    provider: ClassVar[str] = "aws"
    schema: ClassVar[Schema] = AWS_CLUSTER
    ends_hosts: ClassVar[bool] = True
    default_type: ClassVar[str] = ""  # of factories without a configured one
    _key: str = ""  # the configured private key
    uses_baked_images: bool = True  # whether new hosts are made from an image that has what they get installed

    def __init__(
        self,
        name: str,
        factories_num: int,
        factories_type: str | None,
        orchestrator_type: str,
        key_name: str | None = None,
        security_group: str | None = None,
        subnet_id: str | None = None,
        creator: str = "",
        key: str | None = None,
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
        ssh_sources: list[str] | None = None,
        max_price_per_hour: float | None = None,
        budget: float | None = None,
        factories_types: list[str] | None = None,
        subnet_ids: list[str] | None = None,
        min_factories: int | None = None,
        factories_spot: bool | Mapping[str, float] = False,
        **options: Unpack[ClusterOptions],
    ) -> None:
        super().__init__(name, factories_num, key or "", username, setup_cmds, **options)
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
        self.ssh_sources = ssh_sources
        self.max_price_per_hour = max_price_per_hour
        self.budget = budget
        self.factories_types = factories_types
        self.subnet_ids = subnet_ids
        self.min_factories = min_factories
        self.factories_spot = factories_spot

    @property
    def key(self) -> str:
        """The path of the private key."""
        return self._key or str(self.aws.own.key_file)

    @key.setter
    def key(self, value: str) -> None:
        self._key = value

    # flambé's methods, in its order.

    def _get_boto_session(self, region_name: str | None) -> session.AnySession:
        """Return the session; None is the locally configured region, else us-east-1."""
        return session.make_session(region_name)

    def load_all_instances(self) -> None:
        """Create missing hosts, start stopped ones, and update names, tags and alarms.

        Raises:
            ClusterConfigurationError: Something that a creation needs does not exist or does not fit.
            AWSError: An API call failed, or a host did not start; the next launch continues from there.
        """
        self.hosts = self._provider.create(observer=self.observer, created=self.created)

    def _existing_cluster(self) -> tuple[EC2Instance | None, list[EC2Instance]]:
        """Return the orchestrator and the factories that exist, in any live state."""
        existing = self.aws.find_existing()
        return existing.orchestrator, list(existing.factories.values())

    def _get_existing_tags(self, instance: EC2Instance) -> dict[str, str]:
        """Return the tags of an instance."""
        return dict(instance.tags)

    def flambe_own_running_instances(self) -> Iterator[tuple[EC2Instance, str]]:
        """Yield the cluster's running instances, each with its name."""
        for instance in instances.find(self.clients.ec2, self._tags, [HostState.RUNNING]):
            yield instance, instance.name

    def name_hosts(self) -> None:
        """Name the orchestrator and the factories, and their volumes."""
        self.update_tags()

    def name_instance(self, instance_id: str, name: str) -> None:
        """Rename an instance."""
        tagging.name_instance(self.clients.ec2, instance_id, name)

    def update_tags(self) -> None:
        """Update the tags of all hosts and their volumes; other tags are unchanged."""
        tagging.update_tags(self.clients.ec2, self._tags, self.aws.find_existing().named(self.name))

    def _get_all_tags(self) -> dict[str, str]:
        """Return the tags that all hosts have: the user's and the cluster's."""
        return self._tags.common

    def _find_default_ami(self, _type: str) -> str | None:
        """Return the default image of hosts of a type, ``orchestrator`` or ``factory``."""
        kind = self._settings.types[Role.ORCHESTRATOR if _type == "orchestrator" else Role.FACTORY]
        return images.find_default_for(self.clients.ec2, self.clients.ssm, kind).id

    def check_termination(self) -> list[Host]:
        """Return every host with the cluster's tags, including a second orchestrator; change nothing."""
        return self._provider.find(strict=False)

    def terminate_instances(self) -> list[Host]:
        """Terminate every instance with the cluster's tags, and remove its alarms, security group and key pair.

        Returns:
            The terminated hosts; empty if none existed.

        Raises:
            AWSError: An instance, an alarm or another resource of the cluster still exists.
        """
        host_entries.remove(self.state_dir)
        ended = self._provider.terminate()
        self.hosts = []
        if self.aws.removed:
            self.observer(Notice(message=f"deleted {' and '.join(self.aws.removed)}"))
        return ended

    def rollback_env(self, *, unfinished: bool = False) -> None:
        """Terminate the hosts that this object created, and no others.

        Args:
            unfinished: Also terminate hosts of earlier launches that were killed before their hosts ran.
        """
        gone = self._provider.roll_back(unfinished=unfinished)
        self.hosts = [host for host in self.hosts if host.instance_id not in gone]
        self.created.clear()

    def diagnose(self) -> list[Finding]:
        """Check the account and all that a launch needs; create nothing that stays."""
        from flambe_ansible.doctor import account

        findings = account.examine_account(self.clients)
        if any(finding.problems for finding in findings):
            return findings
        try:
            findings += self.aws.diagnose()
        except ClusterConfigurationError as error:  # there is no subnet, or no private key
            return [*findings, Finding(check="own resources", problems=error.problems)]
        except AWSError as error:
            return [*findings, account.report_error("launch", error)]
        return [*findings, account.examine_alarms(self.clients, self.aws.build_sample_alarm())]

    def parse(self) -> None:
        """Check all arguments, alone and together, without an API call.

        Raises:
            ClusterConfigurationError: An argument has a wrong value, the factories would outlive the orchestrator, or
                a tag is reserved for the cluster.
        """
        values = {name: getattr(self, name) for name in self.schema.by_name if name != "key"}
        check_arguments(self.schema, {**values, "key": self._key or None})
        self._runtime.check()

    def _get_alarm_name(self, instance_id: str) -> str:
        """Return the name of an instance's alarm."""
        return alarms.alarm_name(instance_id)

    def has_alarm(self, instance_id: str) -> bool:
        """Return whether an instance has its alarm."""
        return bool(alarms.find(self.clients.cloudwatch, [instance_id]))

    def remove_existing_events(self) -> None:
        """Remove the alarms of all hosts."""
        alarms.remove(self.clients.cloudwatch, [one.id for one in instances.find(self.clients.ec2, self._tags)])

    def create_cloudwatch_events(self) -> None:
        """Set the alarms of all hosts according to the timeouts; their clocks start now."""
        found = instances.find(self.clients.ec2, self._tags)
        alarms.reset(self.clients.cloudwatch, {instance.id: self.aws.build_alarm(instance) for instance in found})

    def _create_cloudwatch_event(
        self, instance_id: str, mins: int = 60, cpu_thresh: float = alarms.CPU_THRESHOLD
    ) -> None:
        """Set the alarm that terminates an instance after so many minutes below a CPU use (percent)."""
        alarm = self.aws.build_alarm_of(instance_id, mins, cpu_thresh)
        alarms.reset(self.clients.cloudwatch, {instance_id: alarm})

    def _delete_cloudwatch_event(self, instance_id: str) -> None:
        """Remove an instance's alarm."""
        alarms.remove(self.clients.cloudwatch, [instance_id])

    @property
    def recipe(self) -> str:
        """The digest of what the hosts get installed; "" for nothing, or before ``resolve_runtime``."""
        if self._version is None:
            return ""
        from flambe_ansible.launch.baking import make_recipe

        return make_recipe(
            self._runtime,
            self._version,
            username=self.username,
            setup_cmds=self.setup_cmds,
            nvidia_driver=self.nvidia_driver,
            docker=self.docker,
        )

    def _get_creation_name(self, role: str) -> str:
        """Return the name that instances of a role are created with."""
        return initial_name(self.name, Role(role))

    # The parts.

    @property
    def _alarm_percent(self) -> float:
        return alarms.threshold(self.idle_cpu_percent)

    @property
    def _has_budget(self) -> bool:
        return self.budget is not None

    def _find_end(self) -> str:
        return self.aws.find_end() if self._has_budget else ""

    def _measure_costs(self) -> Costs | None:
        return self.aws.measure_costs()

    @property
    def endpoint_url(self) -> str | None:
        """The API's address; None is AWS's own, or what the environment has."""
        return None

    @cached_property
    def clients(self) -> Clients:
        """The API clients."""
        return Clients(lambda: self._get_boto_session(self.region_name), lambda: self.endpoint_url)

    @cached_property
    def aws(self) -> AWSProvider:
        """The provider that talks to the API."""
        return AWSProvider(lambda: self._spec, self.clients, lambda: self.state_dir)

    @cached_property
    def _provider(self) -> AWSProvider | LabProvider:
        return self.aws

    def _reserve_running(self, reservation: Reservation) -> None:
        if reservation.what in LAUNCHES:
            self.aws.admit()
        super()._reserve_running(reservation)

    @property
    def _tags(self) -> ClusterTags:
        return ClusterTags(name=self.name, creator=self.creator, user_tags=dict(self.tags or {}))

    @property
    def _spec(self) -> EC2Spec:
        return EC2Spec(
            tags=self._tags,
            factories_num=self.factories_num,
            settings=self._settings,
            timeouts=self._idle.hours,
            alarm_percent=self._alarm_percent,
            needs=Needs(
                public=self.use_public,
                connected=self._runtime.ray is not None,
                capability=self._cuda_limit,
                remedy="runtime: ray supports all GPUs, and nvidia_driver: ignore uses only the CPUs",
                on_aws=self.endpoint_url is None,
            ),
            max_price_per_hour=self.max_price_per_hour,
            budget=self.budget,
            ssh_sources=tuple(self.ssh_sources or ()),
            min_factories=self.min_factories,
        )

    @property
    def _settings(self) -> launching.InstanceSettings:
        first_type, *more_types = self._factory_types
        first_subnet, *more_subnets = self.subnet_ids or [self.subnet_id or ""]
        return launching.InstanceSettings(
            types={Role.ORCHESTRATOR: self.orchestrator_type, Role.FACTORY: first_type},
            images={Role.ORCHESTRATOR: self.orchestrator_ami, Role.FACTORY: self.factory_ami},
            key_name=self.key_name or "",
            key=Path(self._key),
            security_group=self.security_group or "",
            subnet_id=first_subnet,
            volume_type=self.volume_type,
            volume_size=int(self.volume_size),
            dedicated=self.dedicated,
            ending=frozenset(role for role, hours in self._idle.hours.items() if hours != alarms.NEVER),
            architectures=tuple(ARCHITECTURES[machine] for machine in self._runtime.machines),
            more_types=tuple(more_types),
            more_subnets=tuple(more_subnets),
            fewer_factories=self.min_factories is not None and self.min_factories < self.factories_num,
            spot={Role.FACTORY: self._spot_price} if self.factories_spot else {},
            recipe=self.recipe if self.uses_baked_images else "",
        )

    @property
    def _factory_types(self) -> list[str]:
        """The types of the factories, in order."""
        return list(self.factories_types or [self.factories_type or self.default_type])

    @property
    def _spot_price(self) -> str:
        """The highest price of a Spot Instance as EC2 takes it, or ""."""
        return f"{self.factories_spot['max_price']:g}" if isinstance(self.factories_spot, Mapping) else ""
