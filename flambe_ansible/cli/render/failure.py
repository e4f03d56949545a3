"""Errors as lines of text: what failed, where the full log is, and what to run next."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict, is_dataclass, replace
from pathlib import Path
from typing import Any

from rich.text import Text

from flambe_ansible.cli.render.words import list_hosts
from flambe_ansible.errors import (
    ClusterConfigurationError,
    FlambeAnsibleError,
    PlaybookError,
    Problem,
    RayError,
    RemoteCommandError,
    TaskFailure,
)

TAIL = 20  # lines of output shown; the log has the rest
FEW = 5  # lines of output of further hosts
_NOTABLE = re.compile(r"error|exception|traceback|fail|fatal|refused|denied|in use|no space|killed|timed? ?out", re.I)


def render_error(error: FlambeAnsibleError, *, next_command: str = "", excerpts: bool = False) -> list[Text]:
    """Write an error as lines; with ``excerpts``, problems of a file have their source line and a caret."""
    if isinstance(error, ClusterConfigurationError) and error.problems:
        lines = _render_problems(error.problems, excerpts=excerpts)
        return [*lines, *render_next(error.hint)]
    lines = [Text.assemble(("error: ", "bold red"), error.message)]
    if isinstance(error, PlaybookError):
        for number, (failure, hosts) in enumerate(_group(error.failures).items()):
            lines += _render_failure(failure, hosts, most=FEW if number else TAIL)
        if error.log:
            lines.append(Text.assemble(("full log: ", "bold"), error.log))
    elif isinstance(error, RayError):
        for host, log in error.logs.items():
            lines += [Text(f"{host}: from Ray's log:", style="bold"), *_quote(_find_notable(log))]
    elif isinstance(error, RemoteCommandError):
        lines += _render_command(error.command, error.returncode, error.output)
    return [*lines, *render_next(error.hint or next_command)]


def describe_error(error: FlambeAnsibleError) -> dict[str, Any]:
    """Return an error as plain data: its class, its exit code, and its attributes."""
    attributes = {name: _to_plain(value) for name, value in vars(error).items() if not name.startswith("_")}
    return {"kind": type(error).__name__, "exit_code": error.exit_code, **attributes}


def _render_problems(problems: Iterable[Problem], *, excerpts: bool) -> list[Text]:
    lines = []
    for problem in problems:
        prefix = "" if problem.line else "error: "  # a place in a file marks the line as an error
        lines.append(Text.assemble((prefix, "bold red"), str(problem)))
        source = _read_line(problem) if excerpts else None
        if source is not None:
            # The margin keeps tabs, so that the caret is below its column.
            margin = "".join("\t" if char == "\t" else " " for char in source[: problem.column - 1])
            lines += [Text(f"    {source}", style="dim"), Text(f"    {margin}^", style="bold red")]
    return lines


def _read_line(problem: Problem) -> str | None:
    """Read the line of a problem; None if it cannot be read."""
    if not problem.line:
        return None
    try:
        lines = Path(problem.file).read_text(encoding="utf-8-sig", errors="replace").splitlines()
    except OSError:
        return None
    return lines[problem.line - 1] if problem.line <= len(lines) else None


def _group(failures: Iterable[TaskFailure]) -> dict[TaskFailure, list[str]]:
    """Group failures that differ only in the host."""
    groups: dict[TaskFailure, list[str]] = {}
    for failure in failures:
        groups.setdefault(replace(failure, host=""), []).append(failure.host)
    return groups


def _render_failure(failure: TaskFailure, hosts: Sequence[str], *, most: int) -> list[Text]:
    place = f"{failure.role}: {failure.task}" if failure.role else failure.task
    title = Text.assemble(
        (list_hosts(hosts), "bold"), f": {'unreachable' if failure.unreachable else 'failed'} in {place}"
    )
    # Modules repeat the command and its output in their message, for ansible-playbook.
    message = failure.message.strip().removesuffix(failure.output.strip()).strip()
    ended = "" if failure.returncode is None else f"exit code {failure.returncode}"
    command = "" if failure.command in message and ended in message else failure.command
    shown = [Text(f"  {line}") for line in message.splitlines()]
    return [title, *shown, *_render_command(command, failure.returncode, failure.output, most=most)]


def _render_command(command: str, returncode: int | None, output: str, *, most: int = TAIL) -> list[Text]:
    lines = []
    if command:
        ended = f"  (exit code {returncode})" if returncode is not None else ""
        lines.append(Text.assemble("  $ ", (command, "bold"), ended))
    return lines + _quote(output, most)


def _find_notable(log: str) -> str:
    """Return the lines of a log that mention a problem, or its last lines if none does."""
    lines = log.rstrip().splitlines()
    return "\n".join([line for line in lines if _NOTABLE.search(line)] or lines[-FEW:])


def _quote(output: str, most: int = FEW) -> list[Text]:
    lines = output.rstrip().splitlines()
    hidden = len(lines) - most
    head = [Text(f"  | ... {hidden} earlier lines", style="dim")] if hidden > 0 else []
    return head + [Text(f"  | {line}") for line in lines[-most:]]


def render_next(hint: str | None) -> list[Text]:
    """Write a hint; every line after the first is another choice."""
    first, *others = (hint or "").splitlines() or [""]
    return [Text.assemble(("next: ", "bold"), first), *(Text(f"      {line}") for line in others)] if first else []


def _to_plain(value: object) -> object:
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    if isinstance(value, list | tuple):
        return [_to_plain(item) for item in value]
    return value
