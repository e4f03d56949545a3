"""Hosts as plain data: names, roles, states and addresses."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class Role(StrEnum):
    """A host's role in the cluster; the values are those of the ``Role`` tag on EC2."""

    ORCHESTRATOR = "Orchestrator"
    FACTORY = "Factory"


class HostState(StrEnum):
    """The states of an EC2 instance; hosts of providers without an API are ``RUNNING``."""

    PENDING = "pending"
    RUNNING = "running"
    STOPPING = "stopping"
    STOPPED = "stopped"
    SHUTTING_DOWN = "shutting-down"
    TERMINATED = "terminated"


LIVE_STATES = (HostState.PENDING, HostState.RUNNING, HostState.STOPPING, HostState.STOPPED)

# Seconds from the start of a host until it accepts a login. Bare metal and servers with many large GPUs test their
# hardware first; images with a GPU driver are large, and their blocks are read from S3 at the first boot:
# https://docs.aws.amazon.com/ebs/latest/userguide/initalize-volume.html
BOOT_TIMEOUT = 300.0
GPU_TYPE = re.compile(r"[gp]\d")  # how EC2 names its types with GPUs
SLOW_TYPE = re.compile(r"p[4-9]|.*\.metal")
_BOOT_TIMEOUTS = ((SLOW_TYPE, 1800.0), (GPU_TYPE, 600.0))


@dataclass(frozen=True, kw_only=True)
class Host:
    """One host of a cluster."""

    name: str  # ``<cluster>_orchestrator`` or ``<cluster>_factory_<i>``; also its name in the Ansible inventory
    role: Role
    index: int = 0  # of the factory, from 0; 0 for the orchestrator
    state: HostState = HostState.RUNNING
    private_ip: str = ""  # inside the cluster
    public_ip: str | None = None
    address: str = ""  # that this machine connects to, public or private
    port: int = 22  # of its sshd at ``address``
    instance_id: str | None = None  # the provider's; also the alias of its host key
    instance_type: str = ""  # the provider's
    private_port: int = 22  # of its sshd at ``private_ip``
    alias: str = ""  # of its host key if it has no ``instance_id``; "" is its name
    started: float = 0.0  # when it was started last, in seconds since the epoch; 0 is unknown
    zone: str = ""  # the provider's availability zone
    spot: bool = False  # whether the provider may end it at any time
    reason: str = ""  # the provider's code for the reason of its state, such as Client.UserInitiatedShutdown
    tags: Mapping[str, str] = field(default_factory=dict, compare=False)  # the provider's

    @property
    def key_alias(self) -> str:
        """The name of the host's key in the cluster's known_hosts."""
        return self.instance_id or self.alias or self.name

    @property
    def place(self) -> tuple[str, str, int, str]:
        """Its name, address and port, and the name of its key, which decide where a connection to it leads."""
        return self.name, self.address, self.port, self.key_alias

    @property
    def order(self) -> tuple[bool, int]:
        """Its position in the cluster; the orchestrator is first, then the factories by index."""
        return (self.role is Role.FACTORY, self.index)

    @property
    def has_gpu(self) -> bool:
        """Whether its type is named as EC2's types with GPUs; False if the type is unknown."""
        return bool(GPU_TYPE.match(self.instance_type))

    @property
    def age(self) -> float:
        """Seconds since it was started last; very many if that is unknown."""
        return time.time() - self.started


@dataclass(frozen=True, kw_only=True)
class Location:
    """Where the hosts of a cluster are.

    Attributes:
        region: The provider's region, "" if it has none.
        account: The provider's account, "" if it has none or it is unknown.
        notes: What the user should know about it.
    """

    region: str = ""
    account: str = ""
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        return ", ".join(filter(None, (self.region, f"account {self.account}" if self.account else "")))


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
    """Make a host from its addresses, each with the port of its sshd; ``ip`` is public, or the only one.

    Without a ``private_port`` it is 22, or ``port`` if there is no ``private_ip``. This machine connects to ``ip`` if
    ``use_public``.
    """
    inner = private_port or (22 if private_ip else port)
    address, outer = (ip, port) if use_public or private_ip is None else (private_ip, inner)
    public = ip.replace(":", "-")  # ssh and rsync use the alias as a host's name and split it at colons
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


def sort_hosts(hosts: Iterable[Host]) -> list[Host]:
    """Return hosts in their order in the cluster."""
    return sorted(hosts, key=lambda host: host.order)


def find_heads(hosts: Iterable[Host]) -> list[Host]:
    """Return the running orchestrators of a cluster: one, or none; several after two launches at the same moment."""
    return [host for host in hosts if host.role is Role.ORCHESTRATOR and host.state is HostState.RUNNING]


def find_boot_timeout(instance_type: str) -> float:
    """Return how long a host of a type may boot, in seconds, if nothing else is configured."""
    return next((seconds for kind, seconds in _BOOT_TIMEOUTS if kind.match(instance_type)), BOOT_TIMEOUT)


def orchestrator_name(cluster: str) -> str:
    """Return the name of a cluster's orchestrator."""
    return f"{cluster}_orchestrator"


def factory_name(cluster: str, index: int | None = None) -> str:
    """Return the name of the factory with this index (from 0), or the prefix of all their names."""
    base = f"{cluster}_factory"
    return base if index is None else f"{base}_{index}"
