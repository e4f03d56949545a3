"""Ask Ray itself which nodes are alive, and compare the answer with the cluster's hosts."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from flambe_ansible.errors import RayError, RemoteCommandError
from flambe_ansible.hosts import Host
from flambe_ansible.inventory import FLAMBE_ROOT, RAY_UNIT
from flambe_ansible.ssh import Connections

ASK_TIMEOUT = 60.0  # seconds; the script on the host gives up earlier by itself
LOG_LINES = 20


@dataclass(frozen=True, kw_only=True)
class RayNode:
    """One node as Ray sees it; resources as Ray counts them (CPUs, GPUs, bytes of memory)."""

    address: str
    alive: bool
    resources: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class RayNodes:
    """Ray's own answer.

    Attributes:
        version: The version of Ray that answered, or "".
        nodes: All nodes that Ray remembers, dead ones included.
        error: Why Ray did not answer, or "".
    """

    version: str = ""
    nodes: tuple[RayNode, ...] = ()
    error: str = ""

    @property
    def addresses(self) -> frozenset[str]:
        """The private addresses of the nodes that are alive."""
        return frozenset(node.address for node in self.nodes if node.alive)

    def find_missing(self, hosts: Sequence[Host]) -> list[Host]:
        """List the hosts whose node is not alive."""
        alive = self.addresses
        return [host for host in hosts if host.private_ip not in alive]

    def count_alive(self, hosts: Sequence[Host]) -> int:
        """Count the hosts whose node is alive."""
        return len(hosts) - len(self.find_missing(hosts))


def ask(connections: Connections, orchestrator: Host, *, timeout: float = ASK_TIMEOUT) -> RayNodes:
    """Ask the Ray on the orchestrator for its nodes.

    Args:
        connections: The way to the hosts.
        orchestrator: The host whose Ray is the head.
        timeout: Seconds.

    Returns:
        Ray's answer; where Ray is not up, one whose ``error`` says why.

    Raises:
        HostConnectionError: The orchestrator cannot be reached.
    """
    command = shlex.quote(f"{FLAMBE_ROOT}/bin/ray-nodes")
    try:
        answer = connections.run(orchestrator, command, timeout=timeout, check=False)
    except RemoteCommandError as error:  # the time limit
        return RayNodes(error=error.message)
    return parse(answer.stdout, default=answer.stderr)


def parse(text: str, *, default: str = "") -> RayNodes:
    """Read the JSON document of ``ray-nodes``; other text becomes the error of an answer without nodes."""
    try:
        document: Any = json.loads(text.strip().rpartition("\n")[2])
    except ValueError:
        return RayNodes(error=(default or text).strip() or "no answer")
    if "error" in document:
        return RayNodes(error=str(document["error"]))
    nodes = tuple(
        RayNode(address=node["address"], alive=bool(node["alive"]), resources=node.get("resources") or {})
        for node in document.get("nodes", ())
    )
    return RayNodes(version=str(document.get("ray_version", "")), nodes=nodes)


def check(connections: Connections, hosts: Sequence[Host]) -> RayNodes:
    """Make sure that Ray has a live node on every host.

    Args:
        connections: The way to the hosts.
        hosts: The orchestrator first, then the factories.

    Returns:
        Ray's answer.

    Raises:
        RayError: It has not; with the names of the hosts and the last lines of their logs.
    """
    nodes = ask(connections, hosts[0])
    missing = nodes.find_missing(hosts)
    if not missing:
        return nodes
    names = ", ".join(host.name for host in missing)
    reason = f" ({nodes.error.splitlines()[-1]})" if nodes.error else ""
    raise RayError(
        f"Ray has no live node on {names}{reason}",
        missing=[host.name for host in missing],
        logs=read_logs(connections, missing),
        hint=f"launch again, or read `journalctl -u {RAY_UNIT}` on the host",
    )


def read_logs(connections: Connections, hosts: Sequence[Host]) -> dict[str, str]:
    """Read the last lines of Ray's journal on these hosts; a host that does not answer says so there."""
    command = f"sudo -n journalctl --no-pager --output=cat --lines={LOG_LINES} --unit={RAY_UNIT}"
    answers = connections.run_all(hosts, command, timeout=20, check=False)
    return {name: (answer.stdout or answer.stderr).strip() for name, answer in answers.items()}
