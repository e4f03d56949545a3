"""Errors as messages and exit codes."""

from __future__ import annotations

import errno
import os
import re
import shlex
import sys
import time
import traceback
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import click
from rich.text import Text

from flambe_ansible.cli.output import Output, print_command, print_line
from flambe_ansible.cli.render.failure import describe_error, render_error, render_next
from flambe_ansible.errors import CancelledError, FlambeAnsibleError
from flambe_ansible.files import write_atomic
from flambe_ansible.paths import state_root

UNEXPECTED = 1
USAGE = 2
_DISK_FULL = (errno.ENOSPC, errno.EDQUOT)
_NO_FILES = (errno.EMFILE, errno.ENFILE)
_NO_THREAD = "can't start new thread"
_NOT_WRITABLE = (errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOTDIR)


class ShownError(Exception):
    """An error whose message was printed already; ``facts`` are added to the JSON document."""

    def __init__(self, error: Exception, **facts: Any) -> None:
        super().__init__(str(error))
        self.error = error
        self.facts = facts


class NoAnswerError(FlambeAnsibleError):
    """A question without a terminal to answer it."""

    exit_code = USAGE


class ExistingFileError(FlambeAnsibleError):
    """A file that would be overwritten."""

    exit_code = USAGE


class LocalFileError(FlambeAnsibleError):
    """A file of this machine that cannot be written."""


class LocalLimitError(FlambeAnsibleError):
    """A limit of this machine: open files, processes or threads."""


def handle(output: Output, error: BaseException) -> int:
    """Print an error on stderr and, with ``--json``, on stdout; return the exit code."""
    facts: dict[str, Any] = {}
    if isinstance(error, ShownError):
        facts, error = error.facts, error.error
    else:
        show(output, error)
    if output.json:
        output.write_document({"error": _describe(output, error), **facts})
    return find_exit_code(error)


def show(output: Output, error: BaseException) -> None:
    """Print an error on stderr; the traceback only with ``--debug``."""
    if output.debug:
        output.errors.print("".join(traceback.format_exception(error)), end="", soft_wrap=True)
    error = _translate(error)
    if isinstance(error, click.ClickException):
        _show_usage(output, error)
    elif isinstance(error, FlambeAnsibleError):
        _complete_hint(output, error)
        excerpts = output.errors.file.isatty()
        _print_lines(output, render_error(error, next_command=output.next_command, excerpts=excerpts))
    else:
        _show_unexpected(output, error)


def show_next(output: Output, choices: str) -> None:
    """Print what to do next, one choice per line."""
    _print_lines(output, render_next(choices))


def find_exit_code(error: BaseException) -> int:
    """Return the exit code of an error."""
    error = _translate(error)
    if isinstance(error, click.UsageError):
        return error.exit_code
    if isinstance(error, click.ClickException):
        return error.exit_code if error.exit_code > 1 else USAGE
    return error.exit_code if isinstance(error, FlambeAnsibleError) else UNEXPECTED


def _print_lines(output: Output, lines: Iterable[Text]) -> None:
    for line in lines:
        is_command = re.match(r"(next: | {6})(flambe-ans|sudo|ssh|aws) ", line.plain)
        (print_command if is_command else print_line)(output.errors, line)


def _translate(error: BaseException) -> BaseException:
    if isinstance(error, KeyboardInterrupt | click.Abort):
        return CancelledError("cancelled")
    found = _explain_limit(error) or (_explain_file(error) if isinstance(error, OSError) else None)
    return found or error


def _explain_limit(error: BaseException) -> LocalLimitError | None:
    """Make an error of a limit of this machine; None for others."""
    number = error.errno if isinstance(error, OSError) else 0
    if number in _NO_FILES:
        return LocalLimitError("too many open files on this machine", hint="raise the limit: ulimit -n 4096")
    refused = isinstance(error, RuntimeError) and str(error) == _NO_THREAD
    if refused or (number == errno.EAGAIN and _starts_process(error)):
        return LocalLimitError(
            "this user has reached the limit of processes and threads on this machine",
            hint="end other programs, or raise the limit: ulimit -u 4096",
        )
    return None


def _starts_process(error: BaseException) -> bool:
    """Return whether an error comes from the start of a process."""
    frames = traceback.extract_tb(error.__traceback__)
    return bool(frames) and frames[-1].name in ("_execute_child", "_fork_exec")


def _explain_file(error: OSError) -> LocalFileError | None:
    """Make an error of a folder or disk that cannot be used; None for others: they are bugs."""
    if not _has_current_folder():
        return LocalFileError("the current folder was removed", hint="change to another folder, then run this again")
    root, path = state_root(), str(error.filename or "")
    if error.errno in _DISK_FULL:
        return LocalFileError(
            f"{path or 'this machine'}: cannot write: {error.strerror}",
            hint=f"free disk space for the output, TMPDIR or the state folder {root}",
        )
    if path and Path(path).is_relative_to(root) and (error.errno in _NOT_WRITABLE or not root.is_dir()):
        reason = "this is not a folder" if error.errno == errno.EEXIST else error.strerror
        return LocalFileError(
            f"{path}: {reason}", hint="set FLAMBE_ANS_STATE to a folder in which you can create files"
        )
    return None


def _has_current_folder() -> bool:
    try:
        Path.cwd()
    except FileNotFoundError:
        return False
    return True


def _complete_hint(output: Output, error: FlambeAnsibleError) -> None:
    """Write the cluster's file into the hint, so that its command can be pasted."""
    if error.hint and output.cluster_file:
        error.hint = re.sub(r"\bCLUSTER\b", lambda _match: shlex.quote(output.cluster_file), error.hint)


def _describe(output: Output, error: BaseException) -> dict[str, Any]:
    error = _translate(error)
    if isinstance(error, FlambeAnsibleError):
        _complete_hint(output, error)
        return describe_error(error)
    message = error.format_message() if isinstance(error, click.ClickException) else str(error)
    return {"kind": type(error).__name__, "exit_code": find_exit_code(error), "message": message}


def _show_usage(output: Output, error: click.ClickException) -> None:
    print_line(output.errors, Text.assemble(("error: ", "bold red"), error.format_message()))
    context = getattr(error, "ctx", None)
    if isinstance(context, click.Context):
        output.errors.print(Text(context.get_usage().strip()), soft_wrap=True)
        output.errors.print(Text(f"Try `{context.command_path} --help`."), soft_wrap=True)


def _show_unexpected(output: Output, error: BaseException) -> None:
    message = str(error).strip().splitlines() or ["no message"]
    place = "" if output.debug else f"; the traceback is in {_write_traceback(error)}"
    line = f"unexpected {type(error).__name__}: {message[0]}{place}"
    print_line(output.errors, Text.assemble(("error: ", "bold red"), line))


def _write_traceback(error: BaseException) -> Path | str:
    """Write the traceback to a file that only this user can read; return its path, or why there is none."""
    try:
        folder = state_root() / "crashes"
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = folder / time.strftime(f"%Y%m%d-%H%M%S-{os.getpid()}.txt")
        write_atomic(path, f"{sys.argv}\n" + "".join(traceback.format_exception(error)))
    except OSError as problem:
        return f"no file ({problem}); run again with --debug"
    return path
