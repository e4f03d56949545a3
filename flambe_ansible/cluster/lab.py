"""A cluster in the lab: EC2 on this machine, through the code that talks to AWS."""

from __future__ import annotations

import getpass
import os
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar

from flambe_ansible import lab as labs
from flambe_ansible.cluster.aws import AWSCluster
from flambe_ansible.cluster.plan import Action, Plan, PlannedHost
from flambe_ansible.ec2 import launching, session
from flambe_ansible.errors import LabError
from flambe_ansible.events import Notice
from flambe_ansible.hosts import LIVE_STATES, Host, HostState, Role, factory_name, orchestrator_name
from flambe_ansible.lab import LabHost, LabInfo
from flambe_ansible.validation import LAB_CLUSTER, Schema

if TYPE_CHECKING:
    import boto3

IMAGE_NAME = "the lab's image, of this machine's own release"


class LabCluster(AWSCluster):
    """An ``AWSCluster`` whose network, image, key, endpoint and credentials are the lab's; AWS is never asked.

    Making one needs no lab. Launching starts the lab where it is not up and root asks.

    Args:
        name: The cluster's name, unique for its creator in the lab.
        factories_num: How many factories it has.
        lab: The lab's name.
        factories_type: The instance type of the factories; a lab's hosts share this machine whatever their type.
        orchestrator_type: The instance type of the orchestrator.
        creator: Whose cluster it is; None is this machine's user.
        tags: More tags for hosts and volumes.
        orchestrator_timeout: Idle hours after which the orchestrator is terminated; -1 never, 0 five minutes.
        factories_timeout: The same for the factories.
        volume_size: The root volumes' size in GB, as the API shows it.
        setup_cmds: Commands for bash, run in order on every host.
        flambe_version: The release of flambe that the hosts get; None is the flambe installed here.
        flambe_source: Path of a checkout of flambe that the hosts get instead of a release.
        strict_host_keys: Refuse a host whose key its console does not tell.
        setup_timeout: Seconds that one setup command may take.
        expose_sites: Whether TensorBoard and the report site listen for everybody, not for the orchestrator alone.
    """

    provider: ClassVar[str] = "lab"
    schema: ClassVar[Schema] = LAB_CLUSTER

    def __init__(
        self,
        name: str,
        factories_num: int = 1,
        lab: str = labs.DEFAULT,
        factories_type: str = "t3.small",
        orchestrator_type: str = "t3.small",
        creator: str | None = None,
        tags: dict[str, str] | None = None,
        orchestrator_timeout: int = -1,
        factories_timeout: int = 1,
        volume_size: float = 100,
        setup_cmds: list[str] | None = None,
        *,
        flambe_version: str | None = None,
        flambe_source: str | None = None,
        strict_host_keys: bool = False,
        setup_timeout: float = 3600.0,
        expose_sites: bool = False,
    ) -> None:
        super().__init__(
            name=name,
            factories_num=factories_num,
            factories_type=factories_type,
            orchestrator_type=orchestrator_type,
            key_name="",
            security_group="",
            subnet_id="",
            creator=getpass.getuser() if creator is None else creator,
            key="",
            tags=tags,
            orchestrator_timeout=orchestrator_timeout,
            factories_timeout=factories_timeout,
            volume_size=volume_size,
            setup_cmds=setup_cmds,
            flambe_version=flambe_version,
            flambe_source=flambe_source,
            use_public=False,
            strict_host_keys=strict_host_keys,
            setup_timeout=setup_timeout,
            expose_sites=expose_sites,
        )
        self.lab = lab

    @property
    def key(self) -> str:
        """The path of the lab's private key; "" as long as there is no lab."""
        known = labs.status(self.lab).info
        return str(known.key) if known else ""

    @key.setter
    def key(self, _value: str) -> None:
        """Leave the key to the lab."""

    @property
    def endpoint_url(self) -> str:
        """Where the lab answers."""
        return labs.info(self.lab).endpoint

    def identity(self) -> tuple[str, ...]:
        """Return what tells this cluster from others of the same name: creator and lab."""
        return (self.creator, "lab", self.lab)

    # What can be said while the lab is not up.

    def plan(self) -> Plan:
        """Say what a launch would do, also while the lab is not up; changes nothing.

        Raises:
            ClusterConfigurationError: Something that a creation needs does not fit.
            LabError: The lab belongs to somebody else.
            SourceError: The checkout of flambe that the hosts are to get cannot be built.
        """
        if self._is_up():
            planned = super().plan()
            hosts = tuple(replace(one, image_name=IMAGE_NAME) if one.image else one for one in planned.hosts)
            return replace(planned, hosts=hosts)
        flambe = self.find_flambe()
        return Plan(
            cluster=self.name,
            provider=self.provider,
            hosts=tuple(self._plan_host(role, index) for role, index in self._wanted()),
            flambe_version=flambe.version,
            flambe_origin=flambe.origin,
            notes=(*flambe.warnings, f"the lab {self.lab} is not up: the launch starts it first (as root)"),
        )

    def find_hosts(self) -> list[Host]:
        """Find what exists of the cluster; nothing, where there is no lab.

        Raises:
            LabError: The lab has hosts, and its API does not answer.
        """
        return super().find_hosts() if self._is_up() or self._exists() else []

    def terminate_instances(self) -> list[Host]:
        """Terminate every host of the cluster; nothing, where there is no lab.

        Raises:
            LabError: The lab has hosts, and its API does not answer.
        """
        return super().terminate_instances() if self._is_up() or self._exists() else []

    def rollback_env(self, *, unfinished: bool = False) -> None:
        """Terminate what this object created, and nothing else."""
        if self._is_up():
            super().rollback_env(unfinished=unfinished)

    def load_all_instances(self) -> None:
        """Make all hosts exist and run; starts the lab where it is not up.

        Raises:
            LabError: The lab is not up, and only root can start it.
        """
        if not self._is_up():
            if os.geteuid() != 0:
                labs.info(self.lab)  # says that it is not up, and how root starts it
            labs.up(self.lab, say=lambda message: self.observer(Notice(message=message)))
        super().load_all_instances()

    # What comes from the lab.

    def _get_boto_session(self, region_name: str | None) -> boto3.Session:
        """Get a session with the lab's own credentials and region."""
        del region_name
        info = labs.info(self.lab)
        return session.make_isolated_session(info.region, access_key=info.access_key, secret_key=info.secret_key)

    @property
    def _settings(self) -> launching.InstanceSettings:
        info = labs.info(self.lab)
        return replace(
            super()._settings,
            images=dict.fromkeys(Role, info.image_id),
            key_name=info.key_name,
            security_group=info.security_group,
            subnet_id=info.subnet_id,
        )

    def _is_up(self) -> bool:
        return labs.status(self.lab).up

    def _exists(self) -> bool:
        """Tell that there is no lab from one whose daemon died.

        Raises:
            LabError: There is a lab, and its API does not answer.
        """
        status = labs.status(self.lab)
        if not any(host.state in LIVE_STATES for host in status.hosts):
            return False
        raise _not_answering(self.lab)

    def _wanted(self) -> list[tuple[Role, int]]:
        return [(Role.ORCHESTRATOR, 0), *((Role.FACTORY, index) for index in range(self.factories_num))]

    def _plan_host(self, role: Role, index: int) -> PlannedHost:
        """Plan a host from what the lab's daemon last wrote down."""
        name = orchestrator_name(self.name) if role is Role.ORCHESTRATOR else factory_name(self.name, index)
        rows = [row for row in labs.status(self.lab).hosts if row.name == name and row.state in LIVE_STATES]
        kind = self.orchestrator_type if role is Role.ORCHESTRATOR else self.factories_type
        if not rows:
            volume = f"{self.volume_type}, {int(self.volume_size)} GB, encrypted"
            return PlannedHost(
                name=name,
                role=role,
                action=Action.CREATE,
                instance_type=kind,
                image_name=IMAGE_NAME,
                volume=volume,
            )
        return PlannedHost(
            name=name,
            role=role,
            action=Action.START if rows[0].state == HostState.STOPPED else Action.REUSE,
            host=_to_host(rows[0], role, index),
            instance_type=rows[0].instance_type,
        )


def _to_host(row: LabHost, role: Role, index: int) -> Host:
    """Make a host of what the lab's daemon last wrote down."""
    return Host(
        name=row.name,
        role=role,
        index=index,
        state=HostState(row.state),
        private_ip=row.private_ip,
        address=row.private_ip,
        instance_id=row.id,
        instance_type=row.instance_type,
    )


def _not_answering(name: str) -> LabError:
    """Make the error for a lab whose hosts are there and whose API is not."""
    try:
        labs.info(name)
    except LabError as error:
        return error
    return LabError(f"the lab {name} does not answer", hint=f"sudo flambe-ans lab up --name {name}")


__all__ = ["LabCluster", "LabInfo"]
