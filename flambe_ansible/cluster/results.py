"""Results of an experiment, from the orchestrator to this machine."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from flambe_ansible.cluster.experiment import RESOURCES, results_folder
from flambe_ansible.cluster.runs import RunState
from flambe_ansible.errors import ClusterConfigurationError, RunError
from flambe_ansible.runnable.checks import NAME

if TYPE_CHECKING:
    from flambe_ansible.cluster.base import Cluster

_CHECKPOINTS = ("*.pt", "checkpoint_*")


def pull_results(
    cluster: Cluster, run: RunState, destination: Path, *, name: str | None = None, checkpoints: bool = True
) -> Path:
    """Copy the results of an experiment, and the log where it is the last run, into ``destination/name``.

    Args:
        cluster: The cluster, attached to its orchestrator.
        run: Its last run.
        destination: A folder here; it is made where it is not there.
        name: The experiment; None is the last one that ran.
        checkpoints: Whether models come along.

    Returns:
        The folder here.

    Raises:
        ClusterConfigurationError: No experiment can have this name.
        RunError: There are no results of it.
    """
    wanted = name or run.name
    if not NAME.fullmatch(wanted):
        raise ClusterConfigurationError(f"{wanted!r} is no experiment's name")
    assert cluster.orchestrator is not None  # noqa: S101 - it is attached
    folder = results_folder(wanted)
    if not cluster.orchestrator.existing_dir(folder):
        raise RunError(f"{cluster.orchestrator.name} has no results of {wanted}", hint=_list_names(cluster))
    target = destination / wanted
    target.mkdir(parents=True, exist_ok=True)
    left_out = [RESOURCES, *(() if checkpoints else _CHECKPOINTS)]
    options = [f"--exclude={pattern}" for pattern in left_out]
    cluster.connections.get(cluster.orchestrator.data, f"{folder}/", target, options=options)
    if run.log and run.name == wanted:
        cluster.connections.get(cluster.orchestrator.data, run.log, target)
    return target


def _list_names(cluster: Cluster) -> str:
    """Say of which experiments there are results."""
    assert cluster.orchestrator is not None  # noqa: S101 - it is attached
    found = cluster.orchestrator.run("cd && ls -d -- */output__* 2>/dev/null", check=False).stdout.split()
    names = [folder.split("/")[0] for folder in found if folder == results_folder(folder.split("/")[0])]
    return f"there are results of {', '.join(names)}" if names else f"see {shlex.quote('flambe-ans status')}"
