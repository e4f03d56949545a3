"""``Cluster.execute``: the start of a runnable on a launched cluster, in each form that it takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from flambe_ansible.errors import ClusterConfigurationError, FlambeAnsibleError
from flambe_ansible.events import Observer, ignore
from flambe_ansible.fleet.instance import below_home
from flambe_ansible.jobs import own_package, submission
from flambe_ansible.jobs.custom import find_problem
from flambe_ansible.jobs.jobs import Executable, FileJobs
from flambe_ansible.jobs.state import JobState
from flambe_ansible.runnable.document import RunnableFile
from flambe_ansible.runnable.runnable import ClusterRunnable
from flambe_ansible.runnable.running import describe_failure

Startable = Executable | RunnableFile | ClusterRunnable


class Ready:
    """A ``ClusterRunnable`` as ``FileJobs.start`` takes it, once it is set up.

    Args:
        runnable: The object.
        extensions: The locations of its extensions on the hosts, by module name.
        force: Whether its ``run`` may replace results.

    Raises:
        ClusterConfigurationError: The orchestrator could not create the object.
    """

    program: Sequence[str] = own_package.PROGRAM

    def __init__(self, runnable: ClusterRunnable, extensions: Mapping[str, str], *, force: bool) -> None:
        self._runnable, self._extensions, self._force = runnable, dict(extensions), force
        self.name = runnable.tag().removeprefix("!")
        self.options: Sequence[str] = ("--force",) if force else ()
        module, problem = self.name.partition(".")[0], find_problem(runnable)
        if problem:
            raise ClusterConfigurationError(f"{self.name} {problem}")
        if module not in {name.partition(".")[0] for name in extensions}:
            raise ClusterConfigurationError(
                f"{self.name}: its module {module} is not one of the extensions, so the orchestrator cannot import it",
                hint=f'pass extensions={{"{module}": PATH}}, the path of its package on the orchestrator'
                " (send_local_content returns it)",
            )

    @property
    def results(self) -> str:
        """The folder of its results, or "".

        Raises:
            ClusterConfigurationError: It is not below the home folder.
        """
        return self._runnable.results and below_home(self._runnable.results)

    def set_up(self, cluster: Any) -> None:
        """Call its ``setup``, unless the caller has done so."""
        if self._runnable.env is not None:
            return
        try:
            self._runnable.setup_inject_env(cluster, self._extensions, self._force)
        except FlambeAnsibleError:
            raise
        except Exception as error:
            raise describe_failure(self._runnable, error, "setup") from error

    def to_yaml(self, extensions: Mapping[str, str] | None = None) -> str:
        """Write the file for the orchestrator."""
        return self._runnable.to_yaml(extensions)


def execute(
    jobs: FileJobs,
    given: Startable,
    extensions: Mapping[str, str],
    *,
    cluster: Any,
    force: bool,
    expose: bool = False,
    secrets_path: str = "",
    secrets_file: Path | None = None,
    observer: Observer = ignore,
) -> JobState:
    """Start a runnable; ``Cluster.execute`` documents the forms of ``given``."""
    if isinstance(given, RunnableFile):
        cluster.check_file_jobs(experiment=given.is_experiment)
        runnable = submission.make_runnable(given, secrets_file=secrets_file)
        if submission.check_free(cluster.name, jobs.get(), jobs, runnable, force=force):
            jobs.stop(replaced=True)
        fetched = [one for one in submission.fetch(runnable, observer=observer) if one.name not in extensions]
        paths = {**submission.send_extensions(jobs.fleet, fetched), **extensions}
        packages = {**paths, **{one.name: one.requirement for one in fetched if one.requirement}}
        fresh_ray = runnable.prepare(jobs, packages, expose=expose)
        runnable.set_up(jobs, cluster, paths, force=force, fresh_ray=fresh_ray, expose=expose)
        return jobs.start(runnable, paths, secrets_path=secrets_path)
    ready = Ready(given, extensions, force=force) if isinstance(given, ClusterRunnable) else given
    if force:
        jobs.stop(replaced=True)
    if not isinstance(ready, Ready):
        return jobs.start(ready, extensions, secrets_path=secrets_path)
    jobs.install_runnable(extensions)
    ready.set_up(cluster)
    if ready.results:
        jobs.show_results(ready.results, expose=expose)
    return jobs.start(ready, extensions, secrets_path=secrets_path)
