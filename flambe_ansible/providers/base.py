"""The interface of a provider."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import Protocol

from flambe_ansible.events import Observer
from flambe_ansible.fleet.access import AccessPolicy
from flambe_ansible.hosts import Host, Location
from flambe_ansible.launch.plan import HostPlan


class Provider(Protocol):
    """Finds, plans, creates and terminates the hosts of one cluster.

    Attributes:
        records_hosts: Whether the hosts of the last launch are recorded, since no service lists them.
        manages_hosts: Whether single hosts can be stopped, started and terminated.
    """

    records_hosts: bool
    manages_hosts: bool

    @property
    def access(self) -> AccessPolicy:
        """How its hosts are reached."""

    def identity(self) -> tuple[str, ...]:
        """Return what distinguishes this cluster from others of the same name."""

    def location(self) -> Location:
        """Return where the hosts are, or are created."""

    def find(self) -> list[Host]:
        """Return the existing hosts, the orchestrator first; change nothing."""

    def find_interrupted(self) -> list[Host]:
        """Return the hosts that the provider ended by itself and that were not replaced since."""

    def plan(self) -> HostPlan:
        """Return what ``create`` would do; change nothing.

        Raises:
            ClusterConfigurationError: Something that a creation needs does not exist or does not fit.
        """

    def create(self, *, observer: Observer, created: list[str]) -> list[Host]:
        """Create missing hosts, start stopped ones, and return all.

        Args:
            observer: Receives the progress.
            created: The names of created hosts are appended to it.
        """

    def replace(self, hosts: Sequence[Host]) -> None:
        """Plan to terminate these hosts and to create them anew with the next ``create``.

        Raises:
            ClusterConfigurationError: The provider does not manage the hosts.
        """

    def check_suspension(self, *, force: bool = False) -> list[Host]:
        """Return the existing hosts if they can be stopped and started again.

        Args:
            force: Accept the loss of data that is not on their volumes.

        Raises:
            ClusterConfigurationError: They cannot, or the provider does not manage the hosts.
        """

    def suspend(self, *, observer: Observer) -> None:
        """Stop all hosts, and keep their volumes; ``create`` starts them again.

        Raises:
            ClusterConfigurationError: The provider does not manage the hosts.
        """

    def remove(self, hosts: Sequence[Host]) -> None:
        """Terminate these hosts.

        Raises:
            ClusterConfigurationError: The provider does not manage the hosts.
        """

    def terminate(self) -> list[Host]:
        """Terminate all hosts and return them.

        Raises:
            ClusterConfigurationError: The provider does not manage the hosts.
        """

    def roll_back(self, *, unfinished: bool = False) -> set[str]:
        """Terminate the hosts that this object created; return their ids.

        Args:
            unfinished: Also terminate hosts of earlier launches that were killed before their hosts ran.
        """

    def host_keys(self, host: Host) -> list[str] | None:
        """Return the SSH host keys (``type base64``) that the provider vouches for; None if it has none."""

    def late_host_keys(self, host: Host, stop: threading.Event) -> list[str] | None:
        """Return the SSH host keys of a new host whose sshd answers; wait for them, until ``stop`` is set.

        Raises:
            AWSError: They cannot be read; the cluster uses the first key that the host offers.
        """

    def jump_keys(self) -> Mapping[str, Sequence[str]]:
        """Return the configured host keys of bastions, by known_hosts name."""
