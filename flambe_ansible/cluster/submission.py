"""From a runnable's file to its run on a cluster."""

from __future__ import annotations

import getpass
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flambe_ansible import secrets
from flambe_ansible.cluster.custom import Custom
from flambe_ansible.cluster.experiment import Experiment
from flambe_ansible.cluster.runs import NONE, RunState
from flambe_ansible.errors import (
    ClusterBusyError,
    ClusterNotFoundError,
    ExistingResultsError,
    HostConnectionError,
    HostKeyError,
    RunError,
)
from flambe_ansible.hosts import Role
from flambe_ansible.runnable.document import RunnableFile
from flambe_ansible.sources import Extension, fetch_extensions
from flambe_ansible.sources.content import EXCLUDED

if TYPE_CHECKING:
    from flambe_ansible.cluster.base import Cluster, LaunchResult

EXTENSIONS = "extensions"  # the folder below the home folder, flambé's own name
SECRETS = "secrets.ini"


@dataclass(frozen=True, kw_only=True)
class Submission:
    """What a submission did.

    Attributes:
        run: The run, just started.
        launch: What making the cluster ready did.
        replaced: Whether a run that was under way was ended for it.
    """

    run: RunState
    launch: LaunchResult
    replaced: bool


def submit(
    cluster: Cluster,
    file: RunnableFile,
    *,
    force: bool = False,
    user_provider: Callable[[], str] = getpass.getuser,
    **options: Any,
) -> Submission:
    """Make the cluster exist and ready, send all that a runnable needs, and start it.

    Args:
        cluster: The cluster.
        file: The runnable's file.
        force: End a run that is under way, and replace results of the same name.
        user_provider: Says who submits.
        options: The fields of ``RunOptions``.

    Raises:
        ClusterBusyError: A run is under way; nothing was touched.
        ExistingResultsError: There are results of this name; nothing was touched.
        FlambeAnsibleError: Of the kind that tells which part failed.
    """
    secrets.check(options.get("secrets_file"), options.get("secrets_sections"))
    runnable = make_runnable(file, user_provider, secrets_file=options.get("secrets_file"))
    replaced = check_free(cluster, runnable, force=force)
    extensions = fetch_extensions(file.extensions, folder=file.path.parent, observer=cluster.observer)
    runnable.fetch(cluster)
    cluster.find_flambe()  # a checkout that cannot be built ends no run
    if replaced:
        cluster.shutdown_flambe_execution(replaced=True)
    launched = cluster.run(**options)
    places = send_extensions(cluster, extensions)
    fresh = runnable.prepare(cluster, install_list(extensions, places))
    runnable.setup_inject_env(cluster, places, force, fresh_ray=fresh)
    sent = f"{cluster.get_orch_home_path()}/{SECRETS}" if secrets.find(options.get("secrets_file")) else ""
    run = cluster.execute(runnable, places, sent, False)
    return Submission(run=run, launch=launched, replaced=replaced)


def make_runnable(
    file: RunnableFile, user_provider: Callable[[], str] = getpass.getuser, *, secrets_file: Path | None = None
) -> Experiment | Custom:
    """Make what is sent of a file: an experiment that flambé runs, or a runnable of the user's own.

    Args:
        file: The file.
        user_provider: Says who submits.
        secrets_file: The user's secrets, for a runnable of the user's own.

    Raises:
        ClusterConfigurationError: It is no ClusterRunnable, or cannot be made.
        MissingSecretsError: The secrets file is not there.
    """
    secrets.find(secrets_file)
    if file.is_experiment:
        return Experiment(file, user_provider=user_provider)
    return Custom(file, user_provider=user_provider, secrets_file=secrets_file)


def check_free(cluster: Cluster, runnable: Experiment | Custom, *, force: bool) -> bool:
    """Make sure that a run may begin, touching nothing; leaves the cluster attached where its orchestrator answers.

    Returns:
        Whether a run is under way that has to be ended first.

    Raises:
        ClusterBusyError: A run is under way, and may not be ended.
        ExistingResultsError: There are results that may not be replaced.
    """
    found = attach_orchestrator(cluster)
    if found is None:
        return False
    if found.active and not force:
        stage = f", in stage {found.stage}" if found.stage else ""
        raise ClusterBusyError(
            f"cluster {cluster.name} is busy: {found.name} is {found.state} since {found.since or 'just now'}{stage};"
            " nothing was touched",
            state=found.state,
            hint="wait for it (flambe-ans logs --follow), end it (flambe-ans stop), or replace it with --force",
        )
    if not (force or runnable.file.reuse) and runnable.has_results(cluster):
        raise ExistingResultsError(
            f"cluster {cluster.name} holds results of an experiment {runnable.name}; nothing was touched",
            hint="replace them with --force, go on from them with `resume:` in the file, or give it another name",
        )
    return found.active or found.settling


def attach_orchestrator(cluster: Cluster) -> RunState | None:
    """Attach to the orchestrator alone and ask for its last run; None where it does not run or does not answer yet.

    Raises:
        HostKeyError: It shows another key than it should.
    """
    try:
        running = [host for host in cluster.find_running() if host.role is Role.ORCHESTRATOR]
        if not running:
            return None
        cluster.attach(running)
        return cluster.get_run()
    except HostKeyError:
        raise
    except (ClusterNotFoundError, HostConnectionError):
        return None  # the launch makes it, or says what is wrong


def attach_run(cluster: Cluster) -> RunState:
    """Attach to the orchestrator and return its last run.

    Raises:
        ClusterNotFoundError: No orchestrator runs.
        HostConnectionError: It does not answer.
        RunError: Nothing ever ran on it.
    """
    running = [host for host in cluster.find_running() if host.role is Role.ORCHESTRATOR]
    if not running:
        raise ClusterNotFoundError(f"the orchestrator of cluster {cluster.name} is not running")
    cluster.attach(running)
    found = cluster.get_run()
    if found.state == NONE:
        raise RunError(
            f"nothing has run on cluster {cluster.name} yet", hint="flambe-ans submit FILE --cluster CLUSTER runs one"
        )
    return found


def send_extensions(cluster: Cluster, extensions: Sequence[Extension]) -> dict[str, str]:
    """Send extensions to all hosts.

    Returns:
        By module name, where each is there, or what a requirement says without its passwords.
    """
    local = {one.name: str(one.path) for one in extensions if one.path}
    placed = cluster.send_local_content(local, EXTENSIONS, all_hosts=True, exclude=EXCLUDED)
    return {**{one.name: one.origin for one in extensions}, **placed}


def install_list(extensions: Sequence[Extension], places: dict[str, str]) -> dict[str, str]:
    """Say what the hosts install, by module name: paths, and requirements as they are written."""
    return {one.name: one.requirement or places[one.name] for one in extensions}
