"""A ClusterRunnable of the user's own, as it is submitted: set up here, run by this package on the orchestrator."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from flambe_ansible import secrets
from flambe_ansible.cluster import own_runtime
from flambe_ansible.cluster.instance import below_home
from flambe_ansible.cluster.sites import tensorboard_variables
from flambe_ansible.errors import ClusterConfigurationError, FlambeAnsibleError, PlaybookError
from flambe_ansible.runnable import make
from flambe_ansible.runnable.document import RunnableFile
from flambe_ansible.runnable.importing import import_sources
from flambe_ansible.runnable.runnable import ClusterRunnable
from flambe_ansible.runnable.running import describe_failure

if TYPE_CHECKING:
    from flambe_ansible.cluster.base import Cluster

PLAYBOOK = "runnable.yml"


class Custom:
    """A runnable of the user's own on its way to a cluster; has the parts of ``Experiment`` that a submission needs.

    Args:
        file: Its file, read and checked.
        secrets_file: The user's secrets, for its ``config``; the default file if None.
        user_provider: Says who submits.

    Attributes:
        name: The run's name: its class.
        results: The folder of its results below the home folder, or ""; what ``setup`` sets counts in the end.
        runnable: The object itself.

    Raises:
        ClusterConfigurationError: An extension cannot be imported, the class cannot run on a cluster, or its results
            would not be below the home folder.
    """

    program: Sequence[str] = own_runtime.PROGRAM
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

    def fetch(self, cluster: Cluster) -> None:
        """Bring nothing: its extensions are all that it has."""

    def has_results(self, cluster: Cluster) -> bool:
        """Tell nothing of results: what is there, and whether it may go, its ``setup`` knows."""
        del cluster
        return False

    def prepare(self, cluster: Cluster, packages: Mapping[str, str]) -> bool:
        """Install this package and the extensions on the orchestrator.

        Returns:
            Whether Ray has to be started afresh: it does not know of them.

        Raises:
            PlaybookError: It failed; says so where the orchestrator has no Python for it.
        """
        found = own_runtime.variables(cluster)
        try:
            cluster.prepare_run({"extensions_packages": dict(packages), **found}, playbook=PLAYBOOK)
        except PlaybookError as error:
            if own_runtime.find_python(cluster):
                raise
            message = (
                "the orchestrator has no Python 3.11 or later for runnables of your own, and none could be fetched"
            )
            ways = "apt-get install python3.12 or python3.11, or a build below /opt"
            hint = f"install one by setup_cmds or in the image: {ways}"
            raise PlaybookError(message, failures=error.failures, log=error.log, hint=hint) from error
        return False

    def setup_inject_env(self, cluster: Cluster, extensions: dict[str, str], force: bool, *, fresh_ray: bool) -> None:
        """Start Ray afresh where it was used, let the runnable set the cluster up, then show its results.

        Raises:
            RunError: The user's ``setup`` raised an error.
            ClusterConfigurationError: It set results that would not be below the home folder.
        """
        self.options = ("--force",) if force else ()
        cluster.refresh_ray(always=fresh_ray)
        try:
            self.runnable.setup_inject_env(cluster, extensions, force)
        except FlambeAnsibleError:
            raise
        except Exception as error:
            raise describe_failure(self.runnable, error, "setup") from error
        self.results = self._check_results()
        if self.results:
            # Not before: where setup refuses, the last run's results are still those that are shown.
            shown = f"{cluster.get_orch_home_path()}/{self.results}"
            variables = tensorboard_variables(shown, expose=cluster.expose_sites)
            cluster.prepare_run(variables, playbook=PLAYBOOK, tags=["tensorboard"])

    def to_yaml(self, extensions: Mapping[str, str] | None = None) -> str:
        """Write it for the orchestrator: the file's own text, with what ``setup`` set."""
        return self.runnable.to_yaml(extensions)

    def _check_results(self) -> str:
        """Return the folder that the runnable names as that of its results."""
        named: object = self.runnable.results
        if named == "":
            return ""
        try:
            if isinstance(named, str) and named.isprintable() and not named.startswith("~"):
                return below_home(named)
        except ClusterConfigurationError:
            pass
        raise self._refuse(f".results is {named!r}, no relative path that stays below the orchestrator's home folder")

    def _refuse(self, problem: str, *, hint: str | None = None) -> ClusterConfigurationError:
        place = f"{self.file.path}:{self.file.root.line}:{self.file.root.column}"
        return ClusterConfigurationError(f"{place}: {self.file.tag}{problem}", hint=hint)


def find_problem(runnable: object) -> str:
    """Say why an object cannot run on a cluster, as the end of a sentence; "" if it can."""
    if not isinstance(runnable, ClusterRunnable):
        return "is no ClusterRunnable: it runs here alone"
    parameters = inspect.signature(type(runnable).__init__).parameters
    if "env" in parameters or any(one.kind is one.VAR_KEYWORD for one in parameters.values()):
        return ""
    return "does not take env: its constructor has to take **kwargs and pass them on to ClusterRunnable"
