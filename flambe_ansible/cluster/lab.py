"""A cluster in the lab: EC2 on this machine, through the code that talks to AWS."""

from __future__ import annotations

import getpass
from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property
from typing import ClassVar, Unpack

from flambe_ansible import lab as labs
from flambe_ansible.cluster.aws import AWSCluster
from flambe_ansible.cluster.options import ClusterOptions
from flambe_ansible.ec2 import launching, session
from flambe_ansible.errors import LabError
from flambe_ansible.findings import Finding
from flambe_ansible.hosts import Role
from flambe_ansible.providers.accounts import make_lab_session
from flambe_ansible.providers.lab import LabProvider, want_hosts
from flambe_ansible.validation import LAB_CLUSTER, Schema


class LabCluster(AWSCluster):
    """An ``AWSCluster`` whose network, image, key, endpoint and credentials come from a lab; AWS is never called.

    It can be constructed without a lab. A launch by root starts the lab if it is not running.

    Args:
        name: The cluster's name, unique for its creator in the lab.
        factories_num: How many factories it has.
        lab: The lab's name.
        factories_type: The instance type of the factories; None is t3.small. All hosts of a lab share this machine,
            whatever their type.
        orchestrator_type: The instance type of the orchestrator.
        creator: The owner of the cluster; None is this machine's user.
        tags: More tags for hosts and volumes.
        orchestrator_timeout: Idle hours after which the orchestrator powers itself off, which terminates it; -1 never,
            0 five minutes.
        factories_timeout: The same for the factories.
        volume_size: The root volumes' size in GB, as the API shows it.
        setup_cmds: Commands for bash that run in order on every host.
        orchestrator_ami: The image of the orchestrator, one of the lab; None is the lab's own.
        factory_ami: The same for the factories.
        max_price_per_hour: What all hosts may cost per hour, by the lab's prices in US dollars; None is no limit.
        budget: What the cluster may cost in all, by the same prices; then its hosts power themselves off.
        factories_types: Instead of ``factories_type``: the types of the factories, used in order.
        min_factories: With how many factories a launch succeeds if the lab has no room for all; None is all.
        factories_spot: Whether the factories are Spot Instances; a mapping has their ``max_price`` (USD per hour).
        options: The keyword arguments that all clusters share; ``Cluster`` documents them.
    """

    provider: ClassVar[str] = "lab"
    schema: ClassVar[Schema] = LAB_CLUSTER
    default_type: ClassVar[str] = "t3.small"

    def __init__(
        self,
        name: str,
        factories_num: int = 1,
        lab: str = labs.DEFAULT,
        factories_type: str | None = None,
        orchestrator_type: str = "t3.small",
        creator: str | None = None,
        tags: dict[str, str] | None = None,
        orchestrator_timeout: int = -1,
        factories_timeout: int = 1,
        volume_size: float = 100,
        setup_cmds: list[str] | None = None,
        *,
        orchestrator_ami: str | None = None,
        factory_ami: str | None = None,
        max_price_per_hour: float | None = None,
        budget: float | None = None,
        factories_types: list[str] | None = None,
        min_factories: int | None = None,
        factories_spot: bool | Mapping[str, float] = False,
        **options: Unpack[ClusterOptions],
    ) -> None:
        super().__init__(
            name=name,
            factories_num=factories_num,
            factories_type=factories_type,
            orchestrator_type=orchestrator_type,
            creator=getpass.getuser() if creator is None else creator,
            tags=tags,
            orchestrator_timeout=orchestrator_timeout,
            factories_timeout=factories_timeout,
            volume_size=volume_size,
            setup_cmds=setup_cmds,
            orchestrator_ami=orchestrator_ami,
            factory_ami=factory_ami,
            max_price_per_hour=max_price_per_hour,
            budget=budget,
            factories_types=factories_types,
            min_factories=min_factories,
            factories_spot=factories_spot,
            **options,
        )
        self.lab = lab
        self.use_public = False  # the hosts of a lab have private addresses only
        self.proxy_jump = "none"  # they are on this machine: a jump host in ~/.ssh/config does not lead to them

    @property
    def key(self) -> str:
        """The path of the lab's private key; "" if there is no lab."""
        known = labs.status(self.lab).info
        return str(known.key) if known else ""

    @key.setter
    def key(self, _value: str) -> None:
        """Ignore the value: the lab has its own key."""

    def diagnose(self) -> list[Finding]:
        """Check the lab, and in it all that a launch needs; create nothing that stays."""
        try:
            info = labs.info(self.lab)
        except LabError as error:
            from flambe_ansible.doctor import account

            return [account.report_error("lab", error)]
        return [Finding(check="lab", fact=f"{info.name} is up: {info.endpoint}"), *super().diagnose()]

    @property
    def endpoint_url(self) -> str:
        """The lab's address."""
        return labs.info(self.lab).endpoint

    def _get_boto_session(self, region_name: str | None) -> session.AnySession:
        """Return a session with the lab's own credentials and region."""
        del region_name
        return make_lab_session(labs.info(self.lab))

    @cached_property
    def _provider(self) -> LabProvider:
        return LabProvider(
            self.aws,
            lab=self.lab,
            creator=self.creator,
            wanted=lambda: want_hosts(
                self.name, self.factories_num, super(LabCluster, self)._settings.types, volume=self._volume
            ),
        )

    @property
    def _volume(self) -> str:
        return super()._settings.volume

    @property
    def _settings(self) -> launching.InstanceSettings:
        info = labs.info(self.lab)
        configured = super()._settings
        return replace(
            configured,
            images={role: configured.images[role] or info.image_id for role in Role},
            key_name=info.key_name,
            key=info.key,
            security_group=info.security_group,
            subnet_id=info.subnet_id,
        )


__all__ = ["LabCluster"]
