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
        private_port: Where its sshd listens for the other hosts.
        alias: Where no provider gives ids: the alias under which its host key is known, or "" for its name.
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
    private_port: int = 22
    alias: str = ""

    @property
    def key_alias(self) -> str:
        """The name under which the host's key stands in the cluster's known_hosts."""
        return self.instance_id or self.alias or self.name


def make_host(
    name: str,
    role: Role,
    *,
    index: int = 0,
    ip: str,
    private_ip: str | None = None,
    port: int = 22,
    private_port: int | None = None,
    use_public: bool = True,
) -> Host:
    """Describe a host that is known by its addresses alone.

    Args:
        name: Its name.
        role: Its part.
        index: The factory's number from 0.
        ip: Its public address, or its only one.
        private_ip: The address by which the other hosts reach it; None is the same.
        port: Where its sshd listens at ``ip``.
        private_port: Where it listens at ``private_ip``; None is the same where that is, else 22.
        use_public: Whether this machine connects to ``ip``.
    """
    inner = private_port or (22 if private_ip else port)
    address, outer = (ip, port) if use_public or private_ip is None else (private_ip, inner)
    public = ip.replace(":", "-")  # an alias is also a host's name for ssh and rsync, which split at colons
    return Host(
        name=name,
        role=role,
        index=index,
        private_ip=private_ip or ip,
        public_ip=ip if private_ip else None,
        address=address,
        port=outer,
        private_port=inner,
        alias=public if port == 22 else f"{public}_{port}",
    )


def orchestrator_name(cluster: str) -> str:
    """Name the orchestrator of a cluster."""
    return f"{cluster}_orchestrator"


def factory_name(cluster: str, index: int | None = None) -> str:
    """Name the factory with this index (from 0), or the base of all their names."""
    base = f"{cluster}_factory"
    return base if index is None else f"{base}_{index}"
