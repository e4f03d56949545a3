"""The wanted cluster on EC2, as data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from flambe_ansible.ec2 import alarms
from flambe_ansible.ec2.checks import Needs
from flambe_ansible.ec2.launching import InstanceSettings, SettingNames
from flambe_ansible.ec2.tags import ClusterTags
from flambe_ansible.hosts import Role

FIELD_NAMES = SettingNames(
    types={Role.ORCHESTRATOR: "orchestrator_type", Role.FACTORY: "factories_type"},
    images={Role.ORCHESTRATOR: "orchestrator_ami", Role.FACTORY: "factory_ami"},
    key_name="key_name",
    key="key",
    security_group="security_group",
    subnet_id="subnet_id",
    volume_size="volume_size",
)


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
        max_price_per_hour: What the cluster may cost per hour, in US dollars; None is no limit.
        budget: What the cluster may cost in all, in US dollars; None is no limit.
        ssh_sources: The networks from which the cluster's own security group lets SSH in; empty for this machine.
        min_factories: The number of factories with which a launch succeeds if there is no capacity for more; None is
            ``factories_num``.
    """

    tags: ClusterTags
    factories_num: int
    settings: InstanceSettings
    timeouts: Mapping[Role, int]
    alarm_percent: float
    needs: Needs
    max_price_per_hour: float | None = None
    budget: float | None = None
    ssh_sources: Sequence[str] = ()
    min_factories: int | None = None

    @property
    def least(self) -> int:
        """The number of factories with which a launch succeeds."""
        return self.factories_num if self.min_factories is None else min(self.min_factories, self.factories_num)

    @property
    def names(self) -> SettingNames:
        """The names of the settings for messages."""
        types = {**FIELD_NAMES.types, **({Role.FACTORY: "factories_types"} if self.settings.more_types else {})}
        subnet = "subnet_ids" if self.settings.more_subnets else FIELD_NAMES.subnet_id
        return replace(FIELD_NAMES, types=types, subnet_id=subnet)

    @property
    def name(self) -> str:
        """The cluster's name."""
        return self.tags.name

    @property
    def alarm_owner(self) -> str:
        """The mark by which the cluster's alarms are found."""
        return alarms.describe_owner(self.tags.name, self.tags.creator)
