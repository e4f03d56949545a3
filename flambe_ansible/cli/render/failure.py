"""Errors as a person reads them: only what failed, and what to run next."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any

from rich.text import Text

from flambe_ansible.errors import (
    ClusterConfigurationError,
    FlambeAnsibleError,
    PlaybookError,
    Problem,
    RayError,
    RemoteCommandError,
    TaskFailure,
)

TAIL = 20  # lines of output that are shown; the log has the rest


def render_error(error: FlambeAnsibleError, *, next_command: str = "", excerpts: bool = False) -> list[Text]:
    """Write an error as lines.

    Args:
        error: What went wrong.
        next_command: What to run next where the error does not know better.
        excerpts: Whether problems of a file come with their source line and a caret.
    """
    if isinstance(error, ClusterConfigurationError) and error.problems:
        lines = _render_problems(error.problems, excerpts=excerpts)
        return [*lines, *_render_next(error.hint)]
    lines = [Text.assemble(("error: ", "bold red"), error.message)]
    if isinstance(error, PlaybookError):
        for failure in error.failures:
            lines += _render_failure(failure)
        if error.log:
            lines.append(Text.assemble(("log: ", "bold"), error.log))
    elif isinstance(error, RayError):
        for host, log in error.logs.items():
            lines += [Text(f"{host}, the end of its log:", style="bold"), *_quote(log)]
    elif isinstance(error, RemoteCommandError):
        lines += _render_command(error.command, error.returncode, error.output)
    return [*lines, *_render_next(error.hint or next_command)]


def describe_error(error: FlambeAnsibleError) -> dict[str, Any]:
    """Return an error as plain data: its kind, its exit code, and its attributes."""
    attributes = {name: _to_plain(value) for name, value in vars(error).items() if not name.startswith("_")}
    return {"kind": type(error).__name__, "exit_code": error.exit_code, **attributes}


def _render_problems(problems: Iterable[Problem], *, excerpts: bool) -> list[Text]:
    lines = []
    for problem in problems:
        lines.append(Text(str(problem)))
        source = _read_line(problem) if excerpts else None
        if source is not None:
            # Tabs stay in the margin, so that the caret stands below its column.
            margin = "".join("\t" if char == "\t" else " " for char in source[: problem.column - 1])
            lines += [Text(f"    {source}", style="dim"), Text(f"    {margin}^", style="bold red")]
    return lines


def _read_line(problem: Problem) -> str | None:
    """Read the line that a problem stands on; None where it cannot be read."""
    if not problem.line:
        return None
    try:
        lines = Path(problem.file).read_text(encoding="utf-8-sig", errors="replace").splitlines()
    except OSError:
        return None
    return lines[problem.line - 1] if problem.line <= len(lines) else None


def _render_failure(failure: TaskFailure) -> list[Text]:
    where = f"{failure.role}: {failure.task}" if failure.role else failure.task
    verdict = "unreachable" if failure.unreachable else "failed"
    lines = [Text.assemble((failure.host, "bold"), f" {verdict} at {where}")]
    if failure.message:
        lines += [Text(f"  {line}") for line in failure.message.strip().splitlines()]
    return lines + _render_command(failure.command, failure.returncode, failure.output)


def _render_command(command: str, returncode: int | None, output: str) -> list[Text]:
    lines = []
    if command:
        ended = f"  (exit code {returncode})" if returncode is not None else ""
        lines.append(Text.assemble("  $ ", (command, "bold"), ended))
    return lines + _quote(output)


def _quote(output: str) -> list[Text]:
    lines = output.rstrip().splitlines()
    hidden = len(lines) - TAIL
    head = [Text(f"  | ... {hidden} lines before", style="dim")] if hidden > 0 else []
    return head + [Text(f"  | {line}") for line in lines[-TAIL:]]


def _render_next(hint: str | None) -> list[Text]:
    return [Text.assemble(("next: ", "bold"), hint)] if hint else []


def _to_plain(value: object) -> object:
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    if isinstance(value, list | tuple):
        return [_to_plain(item) for item in value]
    return value
