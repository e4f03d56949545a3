"""A cluster on AWS EC2, after flambé's ``flambe.cluster.aws.AWSCluster``: its arguments, defaults and method names.

Where flambé's methods take or return boto3's instance resources, these use ``flambe_ansible.ec2.instances.Instance``,
or an instance's id.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

from flambe_ansible import versions
from flambe_ansible.cluster import lock
from flambe_ansible.cluster.base import Cluster
from flambe_ansible.cluster.plan import Action, Plan, PlannedHost
from flambe_ansible.ec2 import alarms, console, images, instances, launching, rules, session, tags, tidying
from flambe_ansible.ec2.checks import Checked, check
from flambe_ansible.ec2.instances import Existing, Instance
from flambe_ansible.ec2.starting import Start, bring_up
from flambe_ansible.errors import AWSError, ClusterConfigurationError
from flambe_ansible.events import Notice
from flambe_ansible.hosts import LIVE_STATES, Host, HostState, Role, factory_name, orchestrator_name
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
