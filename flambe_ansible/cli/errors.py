"""The one place where an error becomes a message and an exit code."""

from __future__ import annotations

import os
import sys
import time
import traceback
from pathlib import Path
from typing import Any

import click
from rich.text import Text

from flambe_ansible.cli.output import Output
from flambe_ansible.cli.render.failure import describe_error, render_error
from flambe_ansible.errors import CancelledError, FlambeAnsibleError
from flambe_ansible.paths import state_root

UNEXPECTED = 1
USAGE = 2


class ShownError(Exception):
    """An error that people have been told of already; ``facts`` go into the document beside it."""

    def __init__(self, error: Exception, **facts: Any) -> None:
        super().__init__(str(error))
        self.error = error
        self.facts = facts


class NoAnswerError(FlambeAnsibleError):
    """A question that nobody is there to answer.

    Args:
        question: The question.
        outcome: What was done without an answer, in words.
    """

    exit_code = USAGE

    def __init__(self, question: str, outcome: str) -> None:
        super().__init__(
            f"{question} There is no terminal to answer at; {outcome}",
            hint="run it again with --yes, which answers yes",
        )


def handle(output: Output, error: BaseException) -> int:
    """Tell of an error on stderr, complete the document on stdout, and return the exit code."""
    facts: dict[str, Any] = {}
    if isinstance(error, ShownError):
        facts, error = error.facts, error.error
    else:
        show(output, error)
    if output.json:
        output.write_document({"error": _describe(error), **facts})
    return find_exit_code(error)


def show(output: Output, error: BaseException) -> None:
    """Tell people of an error: a few lines, and the traceback only where they asked for it."""
    if output.debug:
        output.errors.print("".join(traceback.format_exception(error)), end="", soft_wrap=True)
    error = _translate(error)
    if isinstance(error, click.ClickException):
        _show_usage(output, error)
    elif isinstance(error, FlambeAnsibleError):
        excerpts = output.errors.file.isatty()
        for line in render_error(error, next_command=output.next_command, excerpts=excerpts):
            output.errors.print(line, soft_wrap=True)
    else:
        _show_unexpected(output, error)


def find_exit_code(error: BaseException) -> int:
    """Return the exit code that an error ends the process with."""
    error = _translate(error)
    if isinstance(error, click.ClickException):
        return error.exit_code if error.exit_code > 1 else USAGE
    return error.exit_code if isinstance(error, FlambeAnsibleError) else UNEXPECTED


def _translate(error: BaseException) -> BaseException:
    cancelled = isinstance(error, KeyboardInterrupt | click.Abort)
    return CancelledError("cancelled") if cancelled else error


def _describe(error: BaseException) -> dict[str, Any]:
    error = _translate(error)
    if isinstance(error, FlambeAnsibleError):
        return describe_error(error)
    message = error.format_message() if isinstance(error, click.ClickException) else str(error)
    return {"kind": type(error).__name__, "exit_code": find_exit_code(error), "message": message}


def _show_usage(output: Output, error: click.ClickException) -> None:
    output.errors.print(Text.assemble(("error: ", "bold red"), error.format_message()), soft_wrap=True)
    context = getattr(error, "ctx", None)
    if isinstance(context, click.Context):
        output.errors.print(Text(context.get_usage().strip()), soft_wrap=True)
        output.errors.print(Text(f"Try `{context.command_path} --help`."), soft_wrap=True)


def _show_unexpected(output: Output, error: BaseException) -> None:
    message = str(error).strip().splitlines() or ["no message"]
    where = "" if output.debug else f"; the traceback is in {_write_traceback(error)}"
    line = f"unexpected {type(error).__name__}: {message[0]}{where}"
    output.errors.print(Text.assemble(("error: ", "bold red"), line), soft_wrap=True)


def _write_traceback(error: BaseException) -> Path | str:
    """Write the traceback to a file of this user alone; say so where even that fails."""
    try:
        folder = state_root() / "crashes"
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = folder / time.strftime(f"%Y%m%d-%H%M%S-{os.getpid()}.txt")
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(f"{sys.argv}\n" + "".join(traceback.format_exception(error)))
    except OSError as problem:
        return f"no file ({problem}); run again with --debug"
    return path
