"""Hosts as plain data: what exists, how it is called, where it answers."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Role(StrEnum):
    """A host's part in the cluster; the values are those of the ``Role`` tag on EC2."""

    ORCHESTRATOR = "Orchestrator"
    FACTORY = "Factory"


class HostState(StrEnum):
    """The states of an EC2 instance; hosts that no API knows are ``RUNNING``."""

    PENDING = "pending"
    RUNNING = "running"
    STOPPING = "stopping"
    STOPPED = "stopped"
    SHUTTING_DOWN = "shutting-down"
    TERMINATED = "terminated"


LIVE_STATES = (HostState.PENDING, HostState.RUNNING, HostState.STOPPING, HostState.STOPPED)


@dataclass(frozen=True, kw_only=True)
class Host:
    """One host of a cluster.

    Attributes:
        name: ``<cluster>_orchestrator`` or ``<cluster>_factory_<i>``; also its name in the Ansible inventory.
        role: Its part.
        index: The factory's number from 0; 0 for the orchestrator.
        state: What the provider says of it.
        private_ip: Its address inside the cluster.
        public_ip: Its public address, or None.
        address: Where this machine connects to (public or private, as ``use_public`` says).
        port: Where its sshd listens.
        instance_id: The provider's id, or None; also the alias under which its host key is known.
        instance_type: The provider's type, or "".
    """

    name: str
    role: Role
    index: int = 0
    state: HostState = HostState.RUNNING
    private_ip: str = ""
    public_ip: str | None = None
    address: str = ""
    port: int = 22
    instance_id: str | None = None
    instance_type: str = ""

    @property
    def key_alias(self) -> str:
        """The name under which the host's key stands in the cluster's known_hosts."""
        return self.instance_id or self.name


def orchestrator_name(cluster: str) -> str:
    """Name the orchestrator of a cluster."""
    return f"{cluster}_orchestrator"


def factory_name(cluster: str, index: int | None = None) -> str:
    """Name the factory with this index (from 0), or the base of all their names."""
    base = f"{cluster}_factory"
    return base if index is None else f"{base}_{index}"
