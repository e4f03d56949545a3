"""What a cluster has besides its hosts: alarms, resources of its own, and records on this machine."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from flambe_ansible.ec2 import alarms, api, instances
from flambe_ansible.ec2.clients import Clients
from flambe_ansible.errors import AWSError
from flambe_ansible.events import Notice, Observer
from flambe_ansible.hosts import LIVE_STATES, HostState
from flambe_ansible.journal import Journal
from flambe_ansible.providers import places
from flambe_ansible.providers.ec2_costs import EC2Costs
from flambe_ansible.providers.ec2_spec import EC2Spec
from flambe_ansible.providers.own_resources import OwnResources
from flambe_ansible.providers.places import Place


@dataclass(frozen=True, kw_only=True)
class Leftovers:
    """Removes what one cluster has besides its hosts.

    Attributes:
        spec: Returns the wanted cluster.
        clients: The API clients.
        own: Its own resources.
        costs: What it costs.
        state_dir: Returns its state folder.
        place: Returns where it is.
    """

    spec: Callable[[], EC2Spec]
    clients: Clients
    own: OwnResources
    costs: EC2Costs
    state_dir: Callable[[], Path]
    place: Callable[[], Place]

    def remove_alarms(self) -> None:
        """Remove the remaining alarms of the cluster, also those of hosts that were terminated by others.

        Raises:
            AWSError: An alarm still exists.
        """
        left = alarms.find_owned(self.clients.cloudwatch, self.spec().alarm_owner)
        if not left:
            return
        api.delete_alarms(self.clients.cloudwatch, left)
        left = alarms.find_owned(self.clients.cloudwatch, self.spec().alarm_owner)
        if left:
            raise AWSError(f"alarms still exist: {', '.join(left)}", operation="DeleteAlarms")

    def remove_resources(self) -> list[str]:
        """Remove the cluster's own resources, and the records; return the deleted resources in words."""
        removed = self.own.remove()
        places.forget(self.state_dir(), self.place())
        self.costs.forget()
        return removed

    def remove_if_unused(self) -> None:
        """Remove everything if the cluster has no host, and none may appear.

        Alarms of hosts that EC2 may not show yet are kept: another machine may have created them.
        """
        states = [*LIVE_STATES, HostState.SHUTTING_DOWN]
        unfinished = Journal(self.state_dir()).unfinished()
        if unfinished or instances.find(self.clients.ec2, self.spec().tags, states):
            return
        alarms.remove_strays(self.clients.cloudwatch, self.clients.ec2, self.spec().alarm_owner, [])
        self.remove_resources()

    def try_to_remove(self, observer: Observer) -> None:
        """Remove everything as ``remove_if_unused``; a failure is a notice, since it follows another one."""
        try:
            self.remove_if_unused()
        except AWSError as error:
            observer(Notice(message=f"{error.message}; flambe-ans down deletes what is left", warning=True))
