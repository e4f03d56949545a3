"""The automatic shutdown of idle hosts: its options, its state on each host, and its postponement.

Role ``idle_shutdown`` installs it; its defaults define the path.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from flambe_ansible.errors import RemoteCommandError
from flambe_ansible.hosts import Host, Role
from flambe_ansible.ssh import Connections

PROGRAM = "/opt/flambe-idle-shutdown/bin/idle-shutdown"
NEVER = -1  # hours
SHORTEST_SECONDS = 300  # the meaning of 0 hours
GRACE_SECONDS = 300  # that the orchestrator stays longer, since the factories ask it before they end
CLUSTER_SIGNALS = ("job", "ray", "launch")  # of the orchestrator, that keep the factories
LATE_INTERVALS = 5  # an older check is late
_LATE_SECONDS = 180


@dataclass(frozen=True, kw_only=True)
class IdleOptions:
    """When hosts are idle, and when idle hosts end.

    Attributes:
        hours: Idle hours of each role until its hosts power themselves off; ``NEVER``, or 0 for five minutes. The
            orchestrator stays for ``GRACE_SECONDS`` more.
        cpu_percent: CPU use of an idle host is below this, in percent of one CPU.
        gpu_percent: The use of each GPU of an idle host, and of its memory, is below this, in percent.
        command: The user's own check, a command for bash, or "".
        alarm_percent: The threshold of the hosts' idle alarms, in percent of all CPUs; 0 if they have none.
        has_budget: Whether the hosts power themselves off at the end of a budget, also while they are busy.
        ends_at: When that is, in ISO 8601 (UTC), or "".
    """

    hours: Mapping[Role, int]
    cpu_percent: float
    gpu_percent: float
    command: str = ""
    alarm_percent: float = 0.0
    has_budget: bool = False
    ends_at: str = ""

    @property
    def enabled(self) -> bool:
        """Whether hosts of a role end themselves."""
        return self.has_budget or self.ends_idle_hosts

    @property
    def ends_idle_hosts(self) -> bool:
        """Whether idle hosts of a role end themselves."""
        return any(hours != NEVER for hours in self.hours.values())

    def variables(self) -> dict[str, Any]:
        """Return the role variables."""
        return {
            "cluster_orchestrator_idle_seconds": _count_seconds(self.hours[Role.ORCHESTRATOR], more=GRACE_SECONDS),
            "cluster_factories_idle_seconds": _count_seconds(self.hours[Role.FACTORY]),
            "idle_shutdown_cpu_percent": self.cpu_percent,
            "idle_shutdown_gpu_percent": self.gpu_percent,
            "idle_shutdown_command": self.command,
            "idle_shutdown_alarm_percent": self.alarm_percent,
            "idle_shutdown_ends_at": self.ends_at,
        }


@dataclass(frozen=True, kw_only=True)
class IdleState:
    """The last check of one host; times in ISO 8601 (UTC), "" for none.

    Attributes:
        checked: The time of the check.
        age: Seconds since then; None if the host was not checked yet.
        interval: Seconds between two checks.
        timeout: Idle seconds until the host powers itself off; -1 for never.
        busy: What keeps it busy: ``signal`` (``job``, ``ray``, ``ssh``, ``launch``, ``cpu``, ``gpu``, ``command``,
            ``cluster`` or ``check``) and ``reason``; empty if it is idle.
        idle_since: Since when it is idle.
        kept_until: Until when its end is postponed.
        ends: When it powers itself off.
        latest_end: When it does so even if it is busy or kept.
    """

    checked: str = ""
    age: float | None = None
    interval: float = 0.0
    timeout: float = NEVER
    busy: tuple[Mapping[str, str], ...] = field(default=())
    idle_since: str = ""
    kept_until: str = ""
    ends: str = ""
    latest_end: str = ""

    @property
    def is_late(self) -> bool:
        """Whether the last check is missing or too long ago."""
        return self.age is None or self.age > max(LATE_INTERVALS * self.interval, _LATE_SECONDS)

    @property
    def keeps_factories(self) -> bool:
        """Whether this host, the orchestrator, is busy by something that keeps all factories."""
        return any(one["signal"] in CLUSTER_SIGNALS for one in self.busy)

    def to_dict(self) -> dict[str, Any]:
        """Return the documented JSON document."""
        return {
            "checked": self.checked,
            "idle_since": self.idle_since,
            "busy": [dict(one) for one in self.busy],
            "ends": self.ends,
            "kept_until": self.kept_until,
            "latest_end": self.latest_end,
            "late": self.is_late,
        }


def restart_command(variables: Mapping[str, Any]) -> list[str]:
    """Return the command, as root, that starts the idle time of a host again; nothing if no host ends itself."""
    seconds = [variables.get(f"cluster_{group}_idle_seconds", NEVER) for group in ("orchestrator", "factories")]
    return [PROGRAM, "restart"] if max(seconds) != NEVER else []


def keep(connections: Connections, hosts: Sequence[Host], seconds: float) -> dict[str, IdleState]:
    """Postpone the end of each host: it does not power itself off within the next seconds; 0 ends this.

    Raises:
        RemoteCommandError: A host has no automatic shutdown, or the command failed on it.
    """
    command = f"sudo -n {PROGRAM} keep {seconds:.0f}"
    states = {name: parse(done.stdout) for name, done in connections.run_all(hosts, command).items()}
    for name, state in states.items():
        if state is None:
            message = f"{name}: the idle state is malformed"
            raise RemoteCommandError(message, host=name, command=command, returncode=0, output="")
    return {name: state for name, state in states.items() if state}


def parse(answer: str) -> IdleState | None:
    """Read what the program printed; None if that is no state, such as without the program."""
    try:
        document = json.loads(answer.strip().rpartition("\n")[2])
        return IdleState(
            checked=str(document["checked"]),
            age=None if document["age"] is None else float(document["age"]),
            interval=float(document["interval"]),
            timeout=float(document["timeout"]),
            busy=tuple({key: _plain(one[key]) for key in ("signal", "reason")} for one in document["busy"]),
            idle_since=str(document["idle_since"]),
            kept_until=str(document["kept_until"]),
            ends=str(document["ends"]),
            latest_end=str(document.get("latest_end", "")),
        )
    except (ValueError, KeyError, TypeError):
        return None


def _count_seconds(hours: int, *, more: int = 0) -> int:
    return NEVER if hours == NEVER else (hours * 3600 or SHORTEST_SECONDS) + more


def _plain(text: object) -> str:
    return "".join(one if one.isprintable() else "?" for one in str(text))
