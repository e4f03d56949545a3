"""A runnable of the user's own, run in this process."""

from __future__ import annotations

import logging
import traceback
from pathlib import Path

from flambe_ansible.errors import FlambeAnsibleError, RunError
from flambe_ansible.runnable.runnable import Runnable

logger = logging.getLogger(__name__)


def run(runnable: Runnable, *, force: bool = False, verbose: bool = False) -> None:
    """Run it.

    Args:
        runnable: The runnable, made from its file.
        force: Passed on to it.
        verbose: Passed on to it.

    Raises:
        RunError: It raised an error; names the place in the user's code, and the traceback is logged.
    """
    try:
        runnable.run(force=force, verbose=verbose)
    except FlambeAnsibleError:
        raise
    except Exception as error:
        frames = traceback.extract_tb(error.__traceback__)[1:]
        lines = ["Traceback (most recent call last):\n", *traceback.format_list(frames)]
        shown = "".join([*lines, *traceback.format_exception_only(error)]).rstrip()
        logger.log(logging.ERROR, "%s", shown)  # without the frames of this package
        raise describe_failure(runnable, error, "run") from error


def describe_failure(runnable: Runnable, error: Exception, method: str) -> RunError:
    """Say in one line that a method of the user's raised an error, which one, and where."""
    own = Path(__file__).parents[1]
    frames = [one for one in traceback.extract_tb(error.__traceback__) if own not in Path(one.filename).parents]
    place = f" ({frames[-1].filename}:{frames[-1].lineno})" if frames else ""
    said = str(error).strip().partition("\n")[0]
    return RunError(f"{runnable.tag()}.{method} raised {type(error).__name__}: {said}{place}", state="failed")
