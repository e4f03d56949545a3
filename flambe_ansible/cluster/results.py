"""Results of a run, from the orchestrator to this machine."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from flambe_ansible.cluster.experiment import RESOURCES, results_folder
from flambe_ansible.cluster.runs import RunState
from flambe_ansible.errors import ClusterConfigurationError, RemoteCommandError, RunError
from flambe_ansible.runnable.checks import NAME

if TYPE_CHECKING:
    from flambe_ansible.cluster.base import Cluster

_CHECKPOINTS = ("*.pt", "checkpoint_*")
_VANISHED = 24  # rsync's exit code where files went away while it copied, as they do while something runs


@dataclass(frozen=True, kw_only=True)
class Pulled:
    """What was brought here.

    Attributes:
        path: The folder here.
        missing: Why the log came alone, or "".
    """

    path: Path
    missing: str = ""


def pull_results(
    cluster: Cluster, run: RunState, destination: Path, *, name: str | None = None, checkpoints: bool = True
) -> Pulled:
    """Copy the results of a run, and the log where it is the last run, into ``destination/name``.

    Args:
        cluster: The cluster, attached to its orchestrator.
        run: Its last run.
        destination: A folder here; it is made where it is not there.
        name: The experiment; None is what ran last: an experiment, or a runnable of the user's own, whose folder is
            called by its class (``module.Class``) and so is never an experiment's.
        checkpoints: Whether models come along.

    Raises:
        ClusterConfigurationError: No experiment can have this name.
        RunError: There are no results of the experiment.
    """
    left_out = () if checkpoints else _CHECKPOINTS
    if name in (None, run.name) and not run.is_experiment:
        return _pull_custom(cluster, run, destination, left_out=left_out)
    wanted = name or run.name
    if not NAME.fullmatch(wanted):
        raise ClusterConfigurationError(f"{wanted!r} is no experiment's name")
    assert cluster.orchestrator is not None  # noqa: S101 - it is attached
    folder = results_folder(wanted)
    if not cluster.orchestrator.existing_dir(folder):
        raise RunError(f"{cluster.orchestrator.name} has no results of {wanted}", hint=_list_names(cluster))
    target = _make_folder(destination, wanted)
    _get(cluster, f"{folder}/", target, left_out=[RESOURCES, *left_out])
    if run.log and run.name == wanted:
        _get(cluster, run.log, target)
    return Pulled(path=target)


def _pull_custom(cluster: Cluster, run: RunState, destination: Path, *, left_out: Sequence[str]) -> Pulled:
    """Copy what a runnable of the user's own has written, where it says and has, and its log."""
    if not all(part.isidentifier() for part in run.name.split(".")):  # it becomes the name of a folder here
        raise RunError(f"{run.name!r} is no runnable's name", state=run.state)
    assert cluster.orchestrator is not None  # noqa: S101 - it is attached
    target = _make_folder(destination, run.name)
    missing = ""
    if not run.save_path:
        missing = f"{run.name} names no folder of results: this is the log alone"
    elif not cluster.orchestrator.existing_dir(run.save_path):
        missing = f"{cluster.orchestrator.name} has no {run.save_path}: this is the log alone"
    else:
        _get(cluster, f"{run.save_path}/", target, left_out=left_out)
    if run.log:
        _get(cluster, run.log, target)
    return Pulled(path=target, missing=missing)


def _make_folder(destination: Path, name: str) -> Path:
    target = destination / name
    target.mkdir(parents=True, exist_ok=True)
    return target


def _get(cluster: Cluster, source: str, target: Path, *, left_out: Sequence[str] = ()) -> None:
    """Copy from the orchestrator; what goes away there meanwhile is no error."""
    assert cluster.orchestrator is not None  # noqa: S101 - it is attached
    options = [f"--exclude={pattern}" for pattern in left_out]
    try:
        cluster.connections.get(cluster.orchestrator.data, source, target, options=options)
    except RemoteCommandError as error:
        if error.returncode != _VANISHED:
            raise


def _list_names(cluster: Cluster) -> str:
    """Say of which experiments there are results."""
    assert cluster.orchestrator is not None  # noqa: S101 - it is attached
    found = cluster.orchestrator.run("cd && ls -d -- */output__* 2>/dev/null", check=False).stdout.split()
    names = [folder.split("/")[0] for folder in found if folder == results_folder(folder.split("/")[0])]
    return f"there are results of {', '.join(names)}" if names else f"see {shlex.quote('flambe-ans status')}"
