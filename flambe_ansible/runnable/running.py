"""Run a custom runnable in this process."""

from __future__ import annotations

import logging
import traceback

from flambe_ansible.config.extension import format_origin
from flambe_ansible.errors import FlambeAnsibleError, RunError
from flambe_ansible.runnable.runnable import Runnable

logger = logging.getLogger(__name__)


def run(runnable: Runnable, *, force: bool = False, verbose: bool = False) -> None:
    """Call a runnable's ``run``; an error in it becomes a ``RunError`` with the line of user code.

    The traceback is logged without this package's frames.
    """
    try:
        runnable.run(force=force, verbose=verbose)
    except FlambeAnsibleError:
        raise
    except Exception as error:
        frames = traceback.extract_tb(error.__traceback__)[1:]
        lines = ["Traceback (most recent call last):\n", *traceback.format_list(frames)]
        shown = "".join([*lines, *traceback.format_exception_only(error)]).rstrip()
        logger.log(logging.ERROR, "%s", shown)  # without this package's frames
        raise describe_failure(runnable, error, "run") from error


def describe_failure(runnable: Runnable, error: Exception, method: str) -> RunError:
    """Return an error of one line for an exception in a method of a custom runnable."""
    first = str(error).strip().partition("\n")[0]
    what = f"{type(error).__name__}: {first}{format_origin(error)}"
    return RunError(f"{runnable.tag()}.{method} raised {what}", state="failed")
