"""Hosts of a lab: EC2 on this machine, through the code that talks to AWS."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from flambe_ansible import lab as labs
from flambe_ansible.errors import LabError
from flambe_ansible.events import Notice, Observer
from flambe_ansible.fleet.access import AccessPolicy
from flambe_ansible.hosts import LIVE_STATES, Host, HostState, Location, Role, factory_name, orchestrator_name
from flambe_ansible.lab import LabHost
from flambe_ansible.lab.client import words
from flambe_ansible.launch.plan import Action, HostPlan, PlannedHost
from flambe_ansible.providers.aws import AWSProvider

IMAGE_NAME = "the lab's image"


class LabProvider:
    """The hosts of a ``LabCluster``; also works while the lab is not running.

    Args:
        aws: The provider that talks to the lab's API.
        lab: The lab's name.
        creator: The cluster's creator.
        wanted: Returns the wanted hosts, as they would be created; used while the lab is not running.
    """

    access = AccessPolicy()
    records_hosts = False
    manages_hosts = True

    def __init__(
        self, aws: AWSProvider, *, lab: str, creator: str, wanted: Callable[[], Sequence[PlannedHost]]
    ) -> None:
        self._aws = aws
        self._lab = lab
        self._creator = creator
        self._wanted = wanted

    def identity(self) -> tuple[str, ...]:
        """Return creator and lab."""
        return (self._creator, "lab", self._lab)

    def location(self) -> Location:
        """Return the lab's region and account, if the lab is running."""
        return self._aws.location() if labs.status(self._lab).up else Location()

    def find(self, *, strict: bool = True) -> list[Host]:
        """Return the existing hosts; none if there is no lab."""
        return self._aws.find(strict=strict) if self._may_have_hosts() else []

    def find_interrupted(self) -> list[Host]:
        """Return the Spot Instances that the lab ended."""
        return self._aws.find_interrupted() if labs.status(self._lab).up else []

    def plan(self) -> HostPlan:
        """Return what a launch would do, also while the lab is not running."""
        status = labs.status(self._lab)
        if status.up:
            planned = self._aws.plan()
            own = labs.info(self._lab).image_id
            hosts = tuple(replace(one, image_name=IMAGE_NAME) if one.image == own else one for one in planned.hosts)
            return replace(planned, hosts=hosts)
        rows = {row.name: row for row in status.hosts if row.state in LIVE_STATES}
        return HostPlan(
            hosts=tuple(_plan_host(one, rows.get(one.name)) for one in self._wanted()),
            notes=(f"the lab {self._lab} is not running; the launch starts it first (as root)",),
        )

    def create(self, *, observer: Observer, created: list[str]) -> list[Host]:
        """Create and start the hosts; start the lab if it is not running."""
        if not labs.status(self._lab).up:
            if os.geteuid() != 0:
                labs.info(self._lab)  # raises the error that names the command
            labs.up(self._lab, say=lambda message: observer(Notice(message=message)))
        return self._aws.create(observer=observer, created=created)

    def replace(self, hosts: Sequence[Host]) -> None:
        """Plan to terminate these hosts and to create them anew."""
        self._aws.replace(hosts)

    def check_suspension(self, *, force: bool = False) -> list[Host]:
        """Return the existing hosts if they can be stopped; none if there is no lab."""
        return self._aws.check_suspension(force=force) if self._may_have_hosts() else []

    def suspend(self, *, observer: Observer) -> None:
        """Stop all hosts."""
        self._aws.suspend(observer=observer)

    def remove(self, hosts: Sequence[Host]) -> None:
        """Terminate these hosts."""
        self._aws.remove(hosts)

    def terminate(self) -> list[Host]:
        """Terminate every host of the cluster; none if there is no lab."""
        if self._may_have_hosts():
            return self._aws.terminate()
        self._aws.costs.forget()
        return []

    def roll_back(self, *, unfinished: bool = False) -> set[str]:
        """Terminate the hosts that this object created; return their ids."""
        return self._aws.roll_back(unfinished=unfinished) if labs.status(self._lab).up else set()

    def host_keys(self, host: Host) -> list[str] | None:
        """Return the host keys on the instance's console."""
        return self._aws.host_keys(host)

    def late_host_keys(self, host: Host, stop: threading.Event) -> list[str] | None:
        """Wait for the host keys of a new host."""
        return self._aws.late_host_keys(host, stop)

    def jump_keys(self) -> Mapping[str, Sequence[str]]:
        """Return no keys."""
        return {}

    def _may_have_hosts(self) -> bool:
        """Return False if the lab does not exist or has no hosts."""
        status = labs.status(self._lab)
        if status.up:
            return True
        if any(host.state in LIVE_STATES for host in status.hosts):
            labs.info(self._lab)  # raises if the lab is not running
            raise LabError(f"the lab {self._lab} does not answer", hint=f"sudo flambe-ans {words('up', self._lab)}")
        return False


def want_hosts(cluster: str, factories_num: int, types: Mapping[Role, str], *, volume: str) -> list[PlannedHost]:
    """Return the wanted hosts of a cluster, as they would be created."""
    names = [(orchestrator_name(cluster), Role.ORCHESTRATOR)]
    names += [(factory_name(cluster, index), Role.FACTORY) for index in range(factories_num)]
    return [
        PlannedHost(
            name=name,
            role=role,
            action=Action.CREATE,
            instance_type=types[role],
            image_name=IMAGE_NAME,
            volume=volume,
        )
        for name, role in names
    ]


def _plan_host(wanted: PlannedHost, row: LabHost | None) -> PlannedHost:
    """Plan a host from what the lab's daemon recorded last."""
    if row is None:
        return wanted
    host = Host(
        name=row.name,
        role=wanted.role,
        index=0 if wanted.role is Role.ORCHESTRATOR else int(row.name.rpartition("_")[2]),
        state=HostState(row.state),
        private_ip=row.private_ip,
        address=row.private_ip,
        instance_id=row.id,
        instance_type=row.instance_type,
    )
    action = Action.START if row.state == HostState.STOPPED else Action.REUSE
    return PlannedHost(name=row.name, role=wanted.role, action=action, host=host, instance_type=row.instance_type)
