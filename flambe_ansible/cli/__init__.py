"""The command line ``flambe-ans``: the only part that prints, asks or exits.

Its own modules are imported after the connections to the hosts were started: ssh takes longer than the imports.
"""

from __future__ import annotations

import gc
import io
import os
import shlex
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from flambe_ansible.cli import starting

if TYPE_CHECKING:
    from flambe_ansible.cli.output import Output

PROGRAM = "flambe-ans"
_MANY_OBJECTS = 500_000  # new objects before the first garbage collection: imports create many, and no garbage
CLOSED_PIPE = 128 + 13  # as if ended by SIGPIPE
CANCELLED = 130


def main() -> None:
    """Run the command line and end the process."""
    gc.set_threshold(_MANY_OBJECTS)
    sys.exit(run(sys.argv[1:]))


def run(arguments: Sequence[str]) -> int:
    """Run one command line, without the program's name, and return its exit code."""
    _open_missing_streams()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # locales without UTF-8
    try:
        with starting.connect(arguments) as started:
            return _run(arguments, started)
    except KeyboardInterrupt:  # before the command line was parsed, or after the command
        return CANCELLED


def _run(arguments: Sequence[str], started: starting.Started) -> int:
    from flambe_ansible.cli.app import app
    from flambe_ansible.cli.output import Output

    output = Output(command=shlex.join([PROGRAM, *arguments]), started=started)
    try:
        code = app.main(list(arguments), prog_name=PROGRAM, standalone_mode=False, obj=output)
    except BrokenPipeError:
        return _leave_quietly()
    except SystemExit as end:  # from rich-click: after a help text, and for a closed stream
        if isinstance(end.__context__, BrokenPipeError):
            return _leave_quietly()
        return end.code if isinstance(end.code, int) else int(bool(end.code))
    except (Exception, KeyboardInterrupt) as error:
        own = arguments[: arguments.index("--")] if "--" in arguments else arguments
        output.json = output.json or "--json" in own
        output.debug = output.debug or "--debug" in own
        return _report(output, error)
    return code if isinstance(code, int) else 0


def _open_missing_streams() -> None:
    """Open the standard streams that are closed, as after ``>&-``, so that no other file gets their descriptors."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            null = os.open(os.devnull, os.O_RDWR)
            setattr(sys, name, os.fdopen(null, "w" if number else "r", encoding="utf-8"))


def _report(output: Output, error: BaseException) -> int:
    """Print an error and return its exit code, even if the message cannot be printed."""
    from flambe_ansible.cli import errors

    try:
        return errors.handle(output, error)
    except BrokenPipeError:
        return _leave_quietly()
    except OSError:
        _leave_quietly()
        return errors.find_exit_code(error)


def _leave_quietly() -> int:
    """Return the exit code of a program ended by SIGPIPE; buffered output is discarded."""
    null = os.open(os.devnull, os.O_WRONLY)
    for descriptor in (1, 2):
        os.dup2(null, descriptor)
    return CLOSED_PIPE
