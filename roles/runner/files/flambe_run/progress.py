"""How far an experiment is: what flambe itself writes to state.pkl, read without flambe."""

from __future__ import annotations

import os
import pickle

# flambe's own numbers for a stage.
_STATES = {0: "pending", 1: "running", 2: "succeeded", 3: "failed", 4: "masked"}
# Ray Tune rewrites these while nothing moves.
_IDLE = ("experiment_state",)


class _Record:
    """Stands in for flambe's ProgressState: attributes alone."""


class _Reader(pickle.Unpickler):
    """Reads data and that one class; nothing that stands in the file is ever called."""

    def find_class(self, module, name):
        if name == "ProgressState":
            return _Record
        if (module, name) == ("collections", "OrderedDict"):
            return dict
        raise pickle.UnpicklingError(f"{module}.{name} is not expected there")


def read_stages(folder):
    """Read the stages of an experiment in order, name to state; empty where there is nothing to read."""
    try:
        with open(os.path.join(folder, "state.pkl"), "rb") as file:
            blocks = vars(_Reader(file).load()).get("block_state", {})
    except (OSError, EOFError, pickle.UnpicklingError, AttributeError, IndexError, KeyError, TypeError, ValueError):
        return {}
    return {str(name): _STATES.get(state, "pending") for name, state in blocks.items()}


def find_stage(stages):
    """Name the stage that runs, else the last one that has ended; empty before the first."""
    started = [name for name, state in stages.items() if state not in ("pending", "masked")]
    running = [name for name in started if stages[name] == "running"]
    return (running or started or [""])[-1]


def last_change(folder):
    """Say when a result was last written below a folder, in seconds of the epoch; 0 where there is none."""
    newest = 0.0
    for current, _, names in os.walk(folder):
        for name in names:
            if not name.startswith(_IDLE):
                try:
                    newest = max(newest, os.lstat(os.path.join(current, name)).st_mtime)
                except OSError:
                    continue
    return newest
