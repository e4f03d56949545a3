"""Ray on the hosts: which nodes are alive, the end of its logs, and how it is stopped."""

from __future__ import annotations

import json
import shlex
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from flambe_ansible.errors import HostError, RayError, RemoteCommandError
from flambe_ansible.hosts import Host
from flambe_ansible.runtimes import draining
from flambe_ansible.ssh import Connections, on_each

LOG_LINES = 20
_PAUSE = 1.0  # seconds between two queries
_QUESTION_SECONDS = 5
_DRAIN_MORE = 150.0  # seconds that the request of a drain may take besides the drain


@dataclass(frozen=True, kw_only=True)
class RayNode:
    """A node as Ray reports it; resources in Ray's units (CPUs, GPUs, bytes of memory)."""

    address: str
    alive: bool
    resources: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class RayNodes:
    """The nodes that Ray reports.

    Attributes:
        version: The version of Ray, or "".
        python: The version of its Python, or "".
        nodes: All nodes, dead ones included.
        error: Why Ray did not answer, or "".
    """

    version: str = ""
    python: str = ""
    nodes: tuple[RayNode, ...] = ()
    error: str = ""

    @property
    def addresses(self) -> frozenset[str]:
        """The private addresses of the nodes that are alive."""
        return frozenset(node.address for node in self.nodes if node.alive)

    def lists(self, host: Host) -> bool:
        """Return whether a host has a node, alive or dead."""
        return any(node.address == host.private_ip for node in self.nodes)

    def find_missing(self, hosts: Sequence[Host]) -> list[Host]:
        """Return the hosts whose node is not alive."""
        alive = self.addresses
        return [host for host in hosts if host.private_ip not in alive]

    def count_alive(self, hosts: Sequence[Host]) -> int:
        """Return the number of hosts whose node is alive."""
        return len(hosts) - len(self.find_missing(hosts))


@dataclass(frozen=True, kw_only=True)
class Drained:
    """The result of draining a node.

    Attributes:
        drained: Whether the node has ended, or there was none.
        running: What still runs on it, in words.
        error: Why it could not be drained, or "".
    """

    drained: bool
    running: tuple[str, ...] = ()
    error: str = ""


@dataclass(frozen=True, kw_only=True)
class Drain:
    """How a node is drained: the environment with Ray, the head's port, the dashboard's address on the head."""

    environment: str
    port: int
    dashboard: str


@dataclass(frozen=True, kw_only=True)
class RayService:
    """Ray as a systemd unit on every host of a cluster.

    Attributes:
        unit: The unit.
        nodes_command: The program on the hosts that prints Ray's nodes as JSON.
        tag: The tag of the role in site.yml that starts it.
        port: The port of the head.
        start_timeout: Seconds for all nodes to start, at least.
        token_file: The file of the token that Ray requires, relative to the home folder on every host; "" for none.
        drains: How a node is drained; None if this Ray cannot do it.
    """

    unit: str
    nodes_command: str
    tag: str
    port: int
    start_timeout: float = 90.0
    token_file: str = ""
    drains: Drain | None = None

    def drain(self, connections: Connections, head: Host, host: Host, *, seconds: float) -> Drained:
        """Let the node of a host accept no new tasks, and wait until nothing runs on it any more.

        The unit starts the node again when it has ended: stop it, or let it join again.
        """
        if self.drains is None:
            return Drained(drained=True)
        how = self.drains
        words = (host.private_ip, how.environment, how.port, how.dashboard, self.token_file, seconds)
        program = f"{Path(draining.__file__).read_text()}\nmain{words!r}\n"
        done = connections.run(head, "python3 -I -", input=program, timeout=seconds + _DRAIN_MORE, check=False)
        try:
            document = json.loads(done.stdout.strip().rpartition("\n")[2])
        except ValueError:
            return Drained(drained=False, error=(done.stderr or done.stdout).strip() or "no answer")
        return Drained(
            drained=bool(document["drained"]), running=tuple(document["running"]), error=str(document["error"])
        )

    def ask(self, connections: Connections, head: Host) -> RayNodes:
        """Return Ray's nodes; if Ray does not answer within the limit for answers, ``error`` has the reason."""
        # The program ends first, so that its own message is shown.
        limit = max(connections.answer.seconds - 1, 1)
        command = f"{shlex.quote(self.nodes_command)} --timeout {limit:g}"
        try:
            answer = connections.ask(head, command, about="Ray's nodes", check=False)
        except RemoteCommandError as error:  # the time limit
            return RayNodes(error=error.message)
        return parse(answer.stdout, default=answer.stderr)

    @property
    def question(self) -> str:
        """The shell command that prints Ray's nodes on the head, with a short time limit; see ``read_answer``."""
        return f"{shlex.quote(self.nodes_command)} --timeout {_QUESTION_SECONDS}"

    def read_answer(self, connections: Connections, head: Host) -> RayNodes | None:
        """Return Ray's nodes from the answer to ``question`` that came with the probe; None without a good one."""
        answer = connections.take_answer(head, self.question)
        nodes = parse(answer) if answer else None
        return None if nodes is None or nodes.error else nodes

    def await_nodes(
        self,
        connections: Connections,
        hosts: Sequence[Host],
        *,
        report: Callable[[Sequence[Host]], None] = lambda _missing: None,
    ) -> RayNodes:
        """Ask for Ray's nodes until every host has a live one, or the limit for answers is over.

        ``report`` receives the hosts that are missing after each query.
        """
        deadline = time.monotonic() + connections.answer.seconds
        while True:
            nodes = self.ask(connections, hosts[0])
            missing = nodes.find_missing(hosts)
            report(missing)
            if not missing or time.monotonic() + _PAUSE >= deadline:
                return nodes
            time.sleep(_PAUSE)

    def explain(self, connections: Connections, nodes: RayNodes, missing: Sequence[Host]) -> RayError:
        """Make the error for hosts without a live node, with the end of their logs."""
        names, patience = ", ".join(host.name for host in missing), connections.answer
        problem = f"Ray has no live node on {names}, after {patience.seconds:g} s"
        if nodes.error:
            problem = f"Ray on the orchestrator did not answer: {nodes.error.splitlines()[-1]}"
        hint = f"launch again, or read `journalctl -u {self.unit}` on the host"
        return RayError(
            problem,
            missing=[host.name for host in missing],
            logs=self.read_logs(connections, missing),
            hint="; ".join(filter(None, (hint, patience.remedy))),
        )

    def read_logs(self, connections: Connections, hosts: Sequence[Host]) -> dict[str, str]:
        """Return the last lines of Ray's journal, or the error of reading them, by host name."""
        command = f"sudo -n journalctl --no-pager --output=cat --lines={LOG_LINES} --unit={self.unit}"

        def read(host: Host) -> str:
            try:
                answer = connections.ask(host, command, about="Ray's log", check=False)
            except HostError as error:
                return error.message
            return (answer.stdout or answer.stderr).strip()

        return on_each(hosts, read)

    @property
    def stop_command(self) -> str:
        """The shell command that stops it on a host."""
        return f"sudo -n systemctl stop {self.unit}"

    @property
    def start_command(self) -> str:
        """The shell command that starts it on a host."""
        return f"sudo -n systemctl start {self.unit}"

    @property
    def disable_command(self) -> str:
        """The shell command that stops it on a host for good."""
        return f"sudo systemctl disable --now {self.unit}"


def parse(text: str, *, default: str = "") -> RayNodes:
    """Read the JSON document of ``nodes_command``; any other text becomes the error of an answer without nodes."""
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
    versions = {"version": "ray_version", "python": "python_version"}
    return RayNodes(**{name: str(document.get(key, "")) for name, key in versions.items()}, nodes=nodes)
