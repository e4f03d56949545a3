"""From a runnable's file to a job on a cluster."""

from __future__ import annotations

import getpass
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from flambe_ansible import secrets
from flambe_ansible.errors import ClusterBusyError, ExistingResultsError
from flambe_ansible.events import Observer
from flambe_ansible.fleet.fleet import Fleet
from flambe_ansible.fleet.reservation import Reservation
from flambe_ansible.jobs.custom import Custom
from flambe_ansible.jobs.experiment import Experiment
from flambe_ansible.jobs.jobs import FileJobs
from flambe_ansible.jobs.state import JobState
from flambe_ansible.runnable.document import RunnableFile
from flambe_ansible.sources import Extension, fetch_extensions
from flambe_ansible.sources.content import EXCLUDED, EXCLUDED_AT_TOP

EXTENSIONS = "extensions"  # flambé's own name, below the home folder
SECRETS = "secrets.ini"
Submittable = Experiment | Custom


def make_runnable(
    file: RunnableFile, user_provider: Callable[[], str] = getpass.getuser, *, secrets_file: Path | None = None
) -> Submittable:
    """Return what a file describes: an experiment, which flambé runs, or a custom runnable."""
    secrets.find(secrets_file)
    if file.is_experiment:
        return Experiment(file, user_provider=user_provider)
    return Custom(file, user_provider=user_provider, secrets_file=secrets_file)


def check_free(cluster: str, job: JobState, jobs: FileJobs, runnable: Submittable, *, force: bool) -> bool:
    """Check that a job may start; return whether another must be stopped or waited for first."""
    if job.active and not force:
        stage = f", in stage {job.stage}" if job.stage else ""
        raise ClusterBusyError(
            f"cluster {cluster} is busy: {job.name} is {job.state} since {job.since or 'just now'}{stage};"
            " nothing was changed",
            state=job.state,
            hint="wait for it (flambe-ans logs CLUSTER --follow), stop it (flambe-ans stop CLUSTER), or replace it with"
            " --force",
        )
    if not (force or runnable.file.reuse) and runnable.has_results(jobs):
        raise ExistingResultsError(
            f"cluster {cluster} has results of an experiment {runnable.name}; nothing was changed",
            hint="replace them with --force, continue from them with `resume:` in the file, or rename the experiment",
        )
    return job.active or job.settling


def fetch(runnable: Submittable, *, observer: Observer) -> tuple[Extension, ...]:
    """Fetch a runnable's extensions and resources to this machine; return the extensions."""
    file = runnable.file
    extensions = fetch_extensions(file.extensions, folder=file.path.parent, observer=observer)
    runnable.fetch(observer)
    return tuple(extensions)


def start(
    jobs: FileJobs,
    runnable: Submittable,
    extensions: Sequence[Extension],
    *,
    cluster: Any,
    force: bool,
    expose: bool,
    with_secrets: bool,
    reservation: Reservation,
    restart_ray: bool = False,
) -> JobState:
    """Send all that a runnable needs to a launched cluster, and start it.

    With ``restart_ray``, Ray is restarted. If the cluster is not reserved any more, no results are removed.
    """
    paths = send_extensions(jobs.fleet, extensions)
    packages = {one.name: one.requirement or paths[one.name] for one in extensions}
    fresh_ray = runnable.prepare(jobs, packages, expose=expose) or restart_ray
    reservation.check()
    runnable.set_up(jobs, cluster, paths, force=force, fresh_ray=fresh_ray, expose=expose)
    secrets_path = f"{jobs.fleet.home}/{SECRETS}" if with_secrets else ""
    return jobs.start(runnable, paths, secrets_path=secrets_path, release=reservation.release)


def send_extensions(fleet: Fleet, extensions: Sequence[Extension]) -> dict[str, str]:
    """Send extensions to all hosts; return their paths there, or requirements without passwords, by module name."""
    local = {one.name: str(one.path) for one in extensions if one.path}
    exclude = [*EXCLUDED, *(f"/{name}" for name in EXCLUDED_AT_TOP)]
    placed = fleet.send(local, EXTENSIONS, all_hosts=True, exclude=exclude)
    return {**{one.name: one.origin for one in extensions}, **placed}
