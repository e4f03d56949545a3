"""What runs on a cluster, as its orchestrator tells: the unit of the run, and the command that knows of it."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from flambe_ansible.errors import RunError
from flambe_ansible.hosts import Host, Role
from flambe_ansible.runnable.checks import NAME
from flambe_ansible.ssh import Connections

RUN_UNIT = "flambe-run.service"
FLAMBE_RUN = "/opt/flambe/bin/flambe-run"
RUN_LOG = "output.log"  # in the home folder, flambé's own name
ASK_TIMEOUT = 30.0  # seconds
SETTLE_TIMEOUT = 480.0  # seconds for a run to end and for all hosts to be ready again
NONE = "none"


@dataclass(frozen=True, kw_only=True)
class LostHost:
    """A host that was lost during a run: since when (ISO 8601 in UTC), and why it is thought so."""

    name: str
    address: str
    since: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class RunState:
    """How the last run stands.

    Attributes:
        state: ``none``, ``queued``, ``running``, ``succeeded``, ``failed``, ``stopped`` or ``replaced``.
        active: Whether it is under way.
        settling: Whether it is over and the hosts are still made ready for the next.
        name: The experiment's name, or the runnable's class.
        id: What tells it from others.
        stage: The stage that runs, or the last one that ended.
        stages: All stages in order: ``pending``, ``running``, ``succeeded`` or ``failed``.
        since: When it began, ISO 8601 in UTC, or "".
        until: When it ended, or "".
        exit_code: How its process ended, or None.
        reason: Why it did not succeed, or "".
        lost: Hosts that were lost while it ran.
        save_path: The folder of its results on the orchestrator, or "".
        log: The file of what it printed on the orchestrator, or "".
    """

    state: str = NONE
    active: bool = False
    settling: bool = False
    name: str = ""
    id: str = ""
    stage: str = ""
    stages: Mapping[str, str] = field(default_factory=dict)
    since: str = ""
    until: str = ""
    exit_code: int | None = None
    reason: str = ""
    lost: tuple[LostHost, ...] = ()
    save_path: str = ""
    log: str = ""

    @property
    def succeeded(self) -> bool:
        """Whether it ended well."""
        return self.state == "succeeded"

    @property
    def is_experiment(self) -> bool:
        """Whether flambé does it: a runnable of the user's own is called by its class, ``module.Class``."""
        return NAME.fullmatch(self.name) is not None

    def to_dict(self) -> dict[str, Any]:
        """Return it as the documented JSON document."""
        return asdict(self)


def parse(text: str) -> RunState:
    """Read the document that ``flambe-run state`` prints."""
    try:
        document: dict[str, Any] = json.loads(text.strip().rpartition("\n")[2])
    except ValueError:
        return RunState()
    return read(document)


def read(document: Mapping[str, Any]) -> RunState:
    """Make a state of a document; what is unknown in it is left out, what is empty has its default."""
    lost = tuple(
        LostHost(name=one["name"], address=one["address"], since=str(one["since"]), reason=one["reason"])
        for one in document.get("lost") or ()
    )
    names = set(RunState.__dataclass_fields__) - {"lost"}
    known = {name: value for name, value in document.items() if name in names and value is not None}
    return RunState(**known, lost=lost)


def ask(connections: Connections, orchestrator: Host, *, timeout: float = ASK_TIMEOUT) -> RunState:
    """Ask the orchestrator how its last run stands; ``none`` also where it was never prepared for one.

    Raises:
        HostConnectionError: It cannot be reached.
    """
    command = f"test ! -x {shlex.quote(FLAMBE_RUN)} || {shlex.quote(FLAMBE_RUN)} state"
    return parse(connections.run(orchestrator, command, timeout=timeout, check=False).stdout)


def call(
    connections: Connections,
    orchestrator: Host,
    *words: str,
    document: Mapping[str, Any] | None = None,
    timeout: float = SETTLE_TIMEOUT,
) -> dict[str, Any]:
    """Call ``flambe-run`` on the orchestrator.

    Args:
        connections: The way there.
        orchestrator: The host.
        words: The command and its options.
        document: What it reads.
        timeout: Seconds.

    Raises:
        RunError: It refused, or failed; its ``state`` is that of the run in the way.
    """
    line = shlex.join([FLAMBE_RUN, *words])
    given = json.dumps(document) if document is not None else None
    done = connections.run(orchestrator, line, input=given, timeout=timeout, check=False)
    try:
        answer: dict[str, Any] = json.loads(done.stdout.strip().rpartition("\n")[2])
    except ValueError:
        said = (done.stderr or done.stdout).strip().rpartition("\n")[2]
        raise RunError(f"{orchestrator.name}: {line}: {said or f'exit code {done.returncode}'}") from None
    if "error" in answer:
        state = answer.get("run", {}).get("state", "")
        raise RunError(f"{orchestrator.name}: {answer['error']}", state=state)
    return answer


def describe_hosts(hosts: Sequence[Host], *, user: str) -> dict[str, Any]:
    """Tell ``flambe-run`` which hosts there are, by the addresses that they use for each other."""

    def describe(host: Host) -> dict[str, Any]:
        return {"name": host.name, "address": host.private_ip, "port": host.private_port}

    head = next(host for host in hosts if host.role is Role.ORCHESTRATOR)
    return {"user": user, "head": describe(head), "workers": [describe(one) for one in hosts if one is not head]}
