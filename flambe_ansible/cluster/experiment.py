"""flambé's experiment, as it is sent to a cluster: read and rewritten here, run by flambé there."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from flambe_ansible.cluster import runs
from flambe_ansible.cluster.sites import site_variables
from flambe_ansible.ec2 import s3
from flambe_ansible.inventory import FLAMBE_ROOT
from flambe_ansible.runnable.document import RunnableFile
from flambe_ansible.runnable.runnable import ClusterRunnable
from flambe_ansible.sources import Resource, fetch_resources

if TYPE_CHECKING:
    from flambe_ansible.cluster.base import Cluster

PROGRAM = (f"{FLAMBE_ROOT}/venv/bin/python", "-m", "flambe.runner.run")
RESOURCES = "_resources"
# What an experiment writes before its first stage: no results yet.
_BEGINNINGS = (RESOURCES, "state.pkl", "experiment.yaml")


class Experiment(ClusterRunnable):
    """An experiment of flambé's, or of a subclass in an extension.

    Args:
        file: Its file, read and checked.
        user_provider: Says who submits.

    Attributes:
        name: Its name.
        results: The folder of its results on all hosts, below the home folder; flambé's own name.
        resources: What it brings along, once ``fetch`` was called.
    """

    program: Sequence[str] = PROGRAM
    # Results are kept or removed before; flambé would refuse to start beside the resources.
    options: Sequence[str] = ("--force",)

    def __init__(self, file: RunnableFile, user_provider: Callable[[], str] | None = None) -> None:
        super().__init__(user_provider=user_provider)
        self.file = file
        self.name = file.name
        self.results = results_folder(file.name)
        self.resources: tuple[Resource, ...] = ()
        self.inject_content(file.text)
        self.inject_extensions({one.name: one.value for one in file.extensions})
        self._placed: dict[str, str] = {}

    def run(self, **kwargs: Any) -> None:
        """Refuse: flambé runs it, in its own runtime.

        Raises:
            NotImplementedError: Always.
        """
        del kwargs
        raise NotImplementedError("flambé runs experiments, in a runtime of its own")

    def fetch(self, cluster: Cluster) -> None:
        """Bring its resources to this machine.

        Raises:
            ClusterConfigurationError: One is not there.
            SourceError: A download failed.
        """
        self.resources = fetch_resources(
            self.file.resources,
            folder=self.file.path.parent,
            s3_download=s3.download,
            observer=cluster.observer,
        )

    def has_results(self, cluster: Cluster) -> bool:
        """Tell whether the orchestrator holds results of an experiment of this name."""
        left_out = " ".join(f"! -name {shlex.quote(name)}" for name in _BEGINNINGS)
        command = f"cd && find ./{self.results} -mindepth 1 -maxdepth 1 {left_out} -print -quit 2>/dev/null"
        assert cluster.orchestrator is not None  # noqa: S101 - the caller has attached
        return bool(cluster.orchestrator.run(command, check=False).stdout.strip())

    def prepare(self, cluster: Cluster, packages: Mapping[str, str]) -> bool:
        """Install the extensions on all hosts, on the orchestrator the run's unit and the sites.

        Args:
            cluster: The cluster, live.
            packages: What the hosts install, by module name.

        Returns:
            Whether Ray has to be started afresh, as an extension was installed.

        Raises:
            PlaybookError: It failed on a host.
        """
        sites = self.site_variables(cluster.get_orch_home_path(), expose=cluster.expose_sites)
        return cluster.prepare_run({"extensions_packages": dict(packages), **sites})

    def setup(self, cluster: Cluster, extensions: dict[str, str], force: bool, **kwargs: Any) -> None:
        """Prepare the cluster: results of before away, folders, resources; sites; a fresh Ray.

        Args:
            cluster: The cluster, live.
            extensions: The extensions on the hosts.
            force: Results of before may go; without it there are none, or they are resumed.
            kwargs: ``fresh_ray``: start Ray afresh whether a run has used it or not.
        """
        del extensions, force
        if not self.file.reuse:
            self._remove_results(cluster)
        cluster.create_dirs([f"{self.results}/{RESOURCES}"])
        local = {one.name: str(one.path) for one in self.resources if one.path}
        placed = cluster.send_local_content(local, f"{self.results}/{RESOURCES}", all_hosts=True)
        self._placed = {**placed, **{one.name: one.location for one in self.resources if one.location}}
        self.set_serializable_attr("save_path", f"{cluster.get_orch_home_path()}/{self.name}")
        cluster.refresh_ray(always=bool(kwargs.get("fresh_ray")))

    def to_yaml(self, extensions: Mapping[str, str] | None = None) -> str:
        """Write it for the orchestrator: the file's own text, with what must change changed."""
        known = {one.name for one in self.file.extensions}
        places = {name: place for name, place in (extensions or {}).items() if name in known}
        return self.file.rewrite(extensions=places, resources=self._placed, attributes=self._changed)

    def site_variables(self, home: str, *, expose: bool) -> dict[str, Any]:
        """Return the variables of the sites' roles, for a home folder on the orchestrator."""
        return site_variables(f"{home}/{self.results}", f"{home}/{runs.RUN_LOG}", expose=expose)

    def _remove_results(self, cluster: Cluster) -> None:
        """Remove what is left of a run before; resources stay, so that what did not change is not sent again."""
        kept = {f"{one.name}__{one.path.absolute().name}" for one in self.resources if one.path}
        folder = f"./{self.results}"
        left_out = " ".join(f"! -name {shlex.quote(name)}" for name in sorted(kept))
        command = (
            f"cd && if [ -d {folder} ]; then"
            f" find {folder} -mindepth 1 -maxdepth 1 ! -name {RESOURCES} -exec rm -rf -- {{}} + ;"
            f" if [ -d {folder}/{RESOURCES} ]; then"
            f" find {folder}/{RESOURCES} -mindepth 1 -maxdepth 1 {left_out} -exec rm -rf -- {{}} + ; fi; fi"
        )
        cluster.connections.run_all(cluster.hosts, command)


def results_folder(name: str) -> str:
    """Name the folder of an experiment's results, relative to the home folder."""
    return f"{name}/output__{name}"
