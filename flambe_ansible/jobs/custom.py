"""A custom ClusterRunnable as a job: set up here, run by this package on the orchestrator."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from flambe_ansible import secrets
from flambe_ansible.errors import ClusterConfigurationError, FlambeAnsibleError
from flambe_ansible.events import Observer
from flambe_ansible.fleet.instance import below_home
from flambe_ansible.jobs import own_package
from flambe_ansible.jobs.jobs import FileJobs
from flambe_ansible.runnable import make
from flambe_ansible.runnable.document import RunnableFile
from flambe_ansible.runnable.importing import import_sources
from flambe_ansible.runnable.runnable import ClusterRunnable
from flambe_ansible.runnable.running import describe_failure


class Custom:
    """A custom runnable; has the same methods as ``Experiment``.

    Args:
        file: Its file, read and checked.
        secrets_file: The user's secrets, for its ``config``; None is the default file.
        user_provider: Returns the name of the submitting user.

    Attributes:
        name: The job's name: the runnable's class.
        results: The folder of its results below the home folder, or ""; ``setup`` may change it.
        runnable: The object itself.

    Raises:
        ClusterConfigurationError: An extension cannot be imported, the class cannot run on a cluster, or its results
            are not below the home folder.
    """

    program: Sequence[str] = own_package.PROGRAM
    options: Sequence[str] = ()

    def __init__(
        self, file: RunnableFile, *, secrets_file: Path | None = None, user_provider: Callable[[], str] | None = None
    ) -> None:
        self.file = file
        self.name = file.tag.removeprefix("!")
        import_sources(file)
        made = make(file, secrets=secrets.find(secrets_file))
        problem = find_problem(made)
        if problem or not isinstance(made, ClusterRunnable):
            raise self._refuse(f" {problem}", hint=f"flambe-ans run {file.path}")
        if user_provider:
            made.user_provider = user_provider
        self.runnable = made
        self.results = self._check_results()

    def fetch(self, observer: Observer) -> None:
        """Fetch nothing: it has extensions only."""

    def has_results(self, jobs: FileJobs) -> bool:
        """Return False: its own ``setup`` decides about earlier results."""
        del jobs
        return False

    def prepare(self, jobs: FileJobs, packages: Mapping[str, str], *, expose: bool) -> bool:
        """Install this package and the extensions; return False, since Ray needs no restart."""
        del expose
        jobs.install_runnable(packages)
        return False

    def set_up(
        self, jobs: FileJobs, cluster: Any, extensions: Mapping[str, str], *, force: bool, fresh_ray: bool, expose: bool
    ) -> None:
        """Restart Ray if it was used, call the runnable's ``setup`` with the cluster, then show its results."""
        self.options = ("--force",) if force else ()
        jobs.refresh_ray(always=fresh_ray)
        try:
            self.runnable.setup_inject_env(cluster, dict(extensions), force)
        except FlambeAnsibleError:
            raise
        except Exception as error:
            raise describe_failure(self.runnable, error, "setup") from error
        self.results = self._check_results()
        if self.results:
            # Only now: if setup fails, the sites still show the last job's results.
            jobs.show_results(self.results, expose=expose)

    def to_yaml(self, extensions: Mapping[str, str] | None = None) -> str:
        """Write the file for the orchestrator: its own text with the values that ``setup`` set."""
        return self.runnable.to_yaml(extensions)

    def _check_results(self) -> str:
        """Return the results folder of the runnable."""
        named: object = self.runnable.results
        if named == "":
            return ""
        try:
            if isinstance(named, str) and named.isprintable() and not named.startswith("~"):
                return below_home(named)
        except ClusterConfigurationError:
            pass
        raise self._refuse(f".results is {named!r}, not a relative path below the orchestrator's home folder")

    def _refuse(self, problem: str, *, hint: str | None = None) -> ClusterConfigurationError:
        location = f"{self.file.path}:{self.file.root.line}:{self.file.root.column}"
        return ClusterConfigurationError(f"{location}: {self.file.tag}{problem}", hint=hint)


def find_problem(runnable: object) -> str:
    """Return why an object cannot run on a cluster, as the end of a sentence; "" if it can."""
    if not isinstance(runnable, ClusterRunnable):
        return "is not a ClusterRunnable; it can only run on this machine"
    parameters = inspect.signature(type(runnable).__init__).parameters
    if "env" in parameters or any(one.kind is one.VAR_KEYWORD for one in parameters.values()):
        return ""
    return "does not take env; its constructor must take **kwargs and pass them on to ClusterRunnable"
