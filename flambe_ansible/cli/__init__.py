"""The command line ``flambe-ans``: the only part that prints, asks or exits."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Sequence

from flambe_ansible.cli import errors
from flambe_ansible.cli.app import app
from flambe_ansible.cli.output import Output

PROGRAM = "flambe-ans"


def main() -> None:
    """Run the command line and end the process."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: Sequence[str]) -> int:
    """Run one command line and return its exit code.

    Args:
        arguments: The words behind the program's name.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a locale without UTF-8 is no reason to die
    output = Output()
    try:
        code = app.main(list(arguments), prog_name=PROGRAM, standalone_mode=False, obj=output)
    except BrokenPipeError:
        return _leave_quietly()
    except SystemExit as end:  # rich-click's own way out after a help text
        return end.code if isinstance(end.code, int) else int(bool(end.code))
    except (Exception, KeyboardInterrupt) as error:
        own = arguments[: arguments.index("--")] if "--" in arguments else arguments
        output.json = output.json or "--json" in own
        output.debug = output.debug or "--debug" in own
        return errors.handle(output, error)
    return code if isinstance(code, int) else 0


def _leave_quietly() -> int:
    """End like a program whose reader went away; what is left to flush goes nowhere."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    return 141
