"""The progress of an experiment, read from flambe's state.pkl without flambe."""

from __future__ import annotations

import os
import pickle

# flambe's numbers for the state of a stage.
_STATES = {0: "pending", 1: "running", 2: "succeeded", 3: "failed", 4: "masked"}
# Ray Tune rewrites these even without progress.
_IDLE = ("experiment_state",)


class _Record:
    """Replace flambe's ProgressState; holds attributes only."""


class _Reader(pickle.Unpickler):
    """Load plain data and this one class; nothing named in the file is ever called."""

    def find_class(self, module, name):
        if name == "ProgressState":
            return _Record
        if (module, name) == ("collections", "OrderedDict"):
            return dict
        raise pickle.UnpicklingError(f"{module}.{name} is not allowed")


def read_stages(folder):
    """Read the stages of an experiment in order, name to state; {} if there is no readable file."""
    try:
        with open(os.path.join(folder, "state.pkl"), "rb") as file:
            blocks = vars(_Reader(file).load()).get("block_state", {})
    except (OSError, EOFError, pickle.UnpicklingError, AttributeError, IndexError, KeyError, TypeError, ValueError):
        return {}
    return {str(name): _STATES.get(state, "pending") for name, state in blocks.items()}


def find_stage(stages):
    """Return the running stage, else the last one that ended; "" before the first."""
    started = [name for name, state in stages.items() if state not in ("pending", "masked")]
    running = [name for name in started if stages[name] == "running"]
    return (running or started or [""])[-1]


def last_change(folder):
    """Return when a result was last written below a folder, in seconds since the epoch; 0 if there is none."""
    newest = 0.0
    for current, _folders, names in os.walk(folder):
        for name in names:
            if not name.startswith(_IDLE):
                try:
                    newest = max(newest, os.lstat(os.path.join(current, name)).st_mtime)
                except OSError:
                    continue
    return newest
