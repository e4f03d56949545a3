"""The result of a command on a host, as data or as an error."""

from __future__ import annotations

from dataclasses import dataclass

from flambe_ansible.errors import RemoteCommandError
from flambe_ansible.hosts import Host
from flambe_ansible.ssh.waiting import Patience

# The exit codes of coreutils' timeout: after SIGTERM, and after SIGKILL.
KILLED = (124, 137)
_TAIL_LINES = 30


@dataclass(frozen=True, kw_only=True)
class Completed:
    """A finished command on a host; invalid UTF-8 in its output is replaced."""

    returncode: int
    stdout: str
    stderr: str


def failed(host: Host, command: str, result: Completed, *, reason: str = "") -> RemoteCommandError:
    """Make the error of a failed command."""
    output = _tail(result.stdout + result.stderr)
    reason = reason or last_line(output)
    return RemoteCommandError(
        f"{host.name}: exit code {result.returncode} from: {_short(command)}" + (f": {reason}" if reason else ""),
        host=host.name,
        command=command,
        returncode=result.returncode,
        output=output,
    )


def no_answer(host: Host, command: str, about: str, limit: Patience, output: str) -> RemoteCommandError:
    """Make the error of a query without an answer in time; ``about`` names what was asked for."""
    return RemoteCommandError(
        f"{host.name}: no answer within {limit.seconds:g} s to the query for {about}",
        host=host.name,
        command=command,
        returncode=KILLED[0],
        output=_tail(output),
        hint=limit.remedy or None,
    )


def timed_out(host: Host, command: str, timeout: float | None, output: str) -> RemoteCommandError:
    """Make the error of a command that exceeded its time limit."""
    return RemoteCommandError(
        f"{host.name}: stopped after its limit of {timeout or 0:g} s: {_short(command)}",
        host=host.name,
        command=command,
        returncode=KILLED[0],
        output=_tail(output),
    )


def _short(command: str) -> str:
    line = " ".join(command.split())
    return line if len(line) <= 120 else line[:117] + "..."


def _tail(output: str) -> str:
    return "\n".join(output.splitlines()[-_TAIL_LINES:])


def last_line(output: str) -> str:
    """Return the last line that is not empty."""
    lines = output.strip().splitlines()
    return lines[-1].strip() if lines else ""


def text(data: bytes | None) -> str:
    """Decode bytes as UTF-8; invalid bytes are replaced."""
    return (data or b"").decode(errors="replace")
