"""Results of a job, copied from the orchestrator to this machine."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from flambe_ansible.errors import ClusterConfigurationError, RemoteCommandError, RunError
from flambe_ansible.fleet.fleet import Fleet
from flambe_ansible.jobs.command_state import CommandJob
from flambe_ansible.jobs.experiment import RESOURCES, results_folder
from flambe_ansible.jobs.state import JobState
from flambe_ansible.runnable.checks import NAME

RAY_RESULTS = "ray_results"  # Ray's own name, in the home folder
_FOLDER = re.compile(r"\w[\w.-]*")
_CHECKPOINTS = ("*.pt", "checkpoint_*")
_VANISHED = 24  # rsync's exit code if files were removed while it copied, as a running job may do


@dataclass(frozen=True, kw_only=True)
class Pulled:
    """What was copied.

    Attributes:
        path: The local folder.
        missing: Why only the log was copied, or "".
    """

    path: Path
    missing: str = ""


def pull_results(
    fleet: Fleet, job: JobState, destination: Path, *, name: str | None = None, checkpoints: bool = True
) -> Pulled:
    """Copy the results of a job into ``destination/name``, and its log if it is the last job.

    ``name`` is an experiment. None is the last job, possibly a custom runnable, whose folder is named by its class
    (``module.Class``), which is never an experiment's name.
    """
    excluded = () if checkpoints else _CHECKPOINTS
    if name in (None, job.name) and not job.is_experiment:
        return _pull_custom(fleet, job, destination, excluded=excluded)
    wanted = name or job.name
    if not NAME.fullmatch(wanted):
        raise ClusterConfigurationError(f"{wanted!r} is not a valid name of an experiment")
    folder = results_folder(wanted)
    if not fleet.orchestrator.existing_dir(folder):
        raise RunError(f"{fleet.head.name} has no results of {wanted}", hint=_list_names(fleet))
    target = _make_folder(destination, wanted)
    _get(fleet, f"{folder}/", target, excluded=[RESOURCES, *excluded])
    if job.log and job.name == wanted:
        _get(fleet, job.log, target)
    return Pulled(path=target)


def pull_command(fleet: Fleet, job: CommandJob, destination: Path, *, checkpoints: bool = True) -> Pulled:
    """Copy the log and the results of a command's job into ``destination/ID``, and Ray's own results beside it."""
    excluded = () if checkpoints else _CHECKPOINTS
    target = _make_folder(destination, job.id)
    inside = _find_inside(target, job.results)
    if fleet.orchestrator.ask(f"test ! -e {shlex.quote(job.log)} || echo yes").strip():
        _get(fleet, job.log, target)
    if fleet.orchestrator.existing_dir(RAY_RESULTS):
        _get(fleet, f"{RAY_RESULTS}/", _make_folder(destination, RAY_RESULTS), excluded=excluded)
    if not job.results:
        return Pulled(path=target, missing=f"{job.id} sets no folder of results; only the log was copied")
    folder = f"{job.folder}/{job.results}"
    if not fleet.orchestrator.existing_dir(folder):
        what = f"{job.id} has written no folder {job.results}"
        return Pulled(path=target, missing=f"{what}; `submit --results DIR` sets its name")
    _get(fleet, f"{folder}/", inside, excluded=excluded)
    return Pulled(path=target)


def _pull_custom(fleet: Fleet, job: JobState, destination: Path, *, excluded: Sequence[str]) -> Pulled:
    """Copy the results folder of a custom runnable, if it has one, and its log."""
    target = _make_folder(destination, job.name)
    missing = ""
    if not job.save_path:
        missing = f"{job.name} sets no folder of results; only the log was copied"
    elif not fleet.orchestrator.existing_dir(job.save_path):
        missing = f"{fleet.head.name} has no {job.save_path}; only the log was copied"
    else:
        _get(fleet, f"{job.save_path}/", target, excluded=excluded)
    if job.log:
        _get(fleet, job.log, target)
    return Pulled(path=target, missing=missing)


def _make_folder(destination: Path, name: str) -> Path:
    """Make the local folder of a job; its name may come from a host."""
    if not _FOLDER.fullmatch(name):
        raise RunError(f"{name!r} cannot be the name of a local folder; nothing was copied")
    target = _find_inside(destination, name)
    target.mkdir(parents=True, exist_ok=True)
    return target


def _find_inside(folder: Path, name: str) -> Path:
    """Return the path of a relative name; refuse one that leads out of the folder, through a link too."""
    path = folder / name
    if ".." in Path(name).parts or not path.resolve().is_relative_to(folder.resolve()):
        raise RunError(f"{name!r} leads out of {folder}; nothing was copied")
    return path


def _get(fleet: Fleet, source: str, target: Path, *, excluded: Sequence[str] = ()) -> None:
    """Copy from the orchestrator; files that are removed there meanwhile are skipped."""
    options = [f"--exclude={pattern}" for pattern in excluded]
    try:
        fleet.connections.get(fleet.head, source, target, options=options)
    except RemoteCommandError as error:
        if error.returncode != _VANISHED:
            raise


def _list_names(fleet: Fleet) -> str:
    """Return a hint with the names of the experiments that have results."""
    found = fleet.orchestrator.ask("cd; ls -d -- */output__* 2>/dev/null; :").split()
    names = [folder.split("/")[0] for folder in found if folder == results_folder(folder.split("/")[0])]
    return f"there are results of {', '.join(names)}" if names else "flambe-ans status CLUSTER shows the last job"
