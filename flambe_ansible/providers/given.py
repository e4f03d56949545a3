"""Hosts that this project does not create: the defaults of the providers for such hosts."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from flambe_ansible.errors import ClusterConfigurationError
from flambe_ansible.events import Observer
from flambe_ansible.fleet import records
from flambe_ansible.fleet.access import AccessPolicy
from flambe_ansible.hosts import Host, Location
from flambe_ansible.launch.plan import HostPlan, plan_reuse


class RecordedProvider:
    """Hosts that a custom cluster class loads itself; the last launch from this machine recorded them.

    Args:
        label: The name of the class, for messages.
        cluster: The cluster's name.
        factories_num: Returns the wanted number of factories.
        find: Returns the existing hosts; a custom class may override it.
        state_dir: Returns the cluster's state folder.
        identity: What distinguishes the cluster from others of its name.
    """

    access = AccessPolicy()
    records_hosts = True
    manages_hosts = False

    def __init__(
        self,
        *,
        label: str,
        cluster: str,
        factories_num: Callable[[], int],
        find: Callable[[], list[Host]],
        state_dir: Callable[[], Path],
        identity: tuple[str, ...],
    ) -> None:
        self._label = label
        self._cluster = cluster
        self._factories_num = factories_num
        self._find = find
        self._state_dir = state_dir
        self._identity = identity

    def identity(self) -> tuple[str, ...]:
        """Return the class."""
        return self._identity

    def location(self) -> Location:
        """Return nothing: there are no regions."""
        return Location()

    def find(self) -> list[Host]:
        """Return the recorded hosts."""
        return records.read_hosts(self._state_dir())

    def find_interrupted(self) -> list[Host]:
        """Return no hosts."""
        return []

    def plan(self) -> HostPlan:
        """Plan to reuse the hosts of the last launch, and to create all others."""
        note = f"{self._label} does not report existing hosts; its load_all_instances() creates or finds them"
        return plan_reuse(self._cluster, self._factories_num(), self._find(), notes=[note])

    def create(self, *, observer: Observer, created: list[str]) -> list[Host]:
        """Return the recorded hosts; a custom class has its own ``load_all_instances``."""
        del observer, created
        return self._find()

    def replace(self, hosts: Sequence[Host]) -> None:
        """Refuse."""
        del hosts
        raise not_managed(self._cluster, self._label)

    def check_suspension(self, *, force: bool = False) -> list[Host]:
        """Refuse."""
        del force
        raise not_managed(self._cluster, self._label)

    def suspend(self, *, observer: Observer) -> None:
        """Refuse."""
        del observer
        raise not_managed(self._cluster, self._label)

    def remove(self, hosts: Sequence[Host]) -> None:
        """Refuse."""
        del hosts
        raise not_managed(self._cluster, self._label)

    def terminate(self) -> list[Host]:
        """Refuse."""
        raise not_managed(self._cluster, self._label)

    def roll_back(self, *, unfinished: bool = False) -> set[str]:
        """Do nothing."""
        del unfinished
        return set()

    def host_keys(self, host: Host) -> list[str] | None:
        """Return None."""
        del host
        return None

    def late_host_keys(self, host: Host, stop: threading.Event) -> list[str] | None:
        """Return None."""
        del host, stop
        return None

    def jump_keys(self) -> Mapping[str, Sequence[str]]:
        """Return no keys."""
        return {}


def not_managed(cluster: str, label: str, *, hint: str | None = None) -> ClusterConfigurationError:
    """Return the error for hosts that this project cannot terminate."""
    return ClusterConfigurationError(
        f"{cluster}: the hosts of {label} are not managed by flambe-ans; nothing was changed", hint=hint
    )
