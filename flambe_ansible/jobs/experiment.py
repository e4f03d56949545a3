"""flambé's experiment as a job: read and rewritten here, run by flambé on the cluster."""

from __future__ import annotations

import getpass
import shlex
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from flambe_ansible.events import Observer
from flambe_ansible.jobs import sites
from flambe_ansible.jobs.jobs import FileJobs
from flambe_ansible.runnable.document import RunnableFile
from flambe_ansible.runtimes import flambe
from flambe_ansible.sources import Resource, fetch_resources

RESOURCES = "_resources"
# Files that an experiment writes before its first stage; they are not results.
_BEGINNINGS = (RESOURCES, "state.pkl", "experiment.yaml")


class Experiment:
    """An experiment of flambé, or of a subclass in an extension.

    Args:
        file: Its file, read and checked.
        user_provider: Returns the name of the submitting user.

    Attributes:
        name: Its name.
        results: The folder of its results on all hosts, below the home folder; flambé's own name.
        resources: Its resources, after ``fetch``.
    """

    program: Sequence[str] = flambe.EXPERIMENT_PROGRAM
    # Earlier results are kept or removed during setup; without this, flambé refuses to start beside the resources.
    options: Sequence[str] = ("--force",)

    def __init__(self, file: RunnableFile, user_provider: Callable[[], str] = getpass.getuser) -> None:
        self.file = file
        self.name = file.name
        self.results = results_folder(file.name)
        self.resources: tuple[Resource, ...] = ()
        self._user_provider = user_provider
        self._placed: dict[str, str] = {}
        self._attributes: dict[str, Any] = {}

    def fetch(self, observer: Observer) -> None:
        """Fetch its resources to this machine."""
        from flambe_ansible.ec2 import s3  # imports boto3

        self.resources = fetch_resources(
            self.file.resources, folder=self.file.path.parent, s3_download=s3.download, observer=observer
        )

    def has_results(self, jobs: FileJobs) -> bool:
        """Return whether the orchestrator has results of an experiment of this name."""
        excluded = " ".join(f"! -name {shlex.quote(name)}" for name in _BEGINNINGS)
        folder = f"./{self.results}"
        script = f"cd || exit 1; test ! -d {folder} || find {folder} -mindepth 1 -maxdepth 1 {excluded} -print -quit"
        return bool(jobs.fleet.orchestrator.ask(script).strip())

    def prepare(self, jobs: FileJobs, packages: Mapping[str, str], *, expose: bool) -> bool:
        """Install extensions, the job's unit and the sites; return whether Ray must be restarted for them."""
        home = jobs.fleet.home
        variables = sites.site_variables(f"{home}/{self.results}", f"{home}/{flambe.JOB_LOG}", expose=expose)
        return jobs.prepare({"cluster_extensions_packages": dict(packages), **variables})

    def set_up(
        self, jobs: FileJobs, cluster: Any, extensions: Mapping[str, str], *, force: bool, fresh_ray: bool, expose: bool
    ) -> None:
        """Remove earlier results unless they are resumed, send the resources, restart Ray if needed."""
        del cluster, extensions, force, expose
        fleet = jobs.fleet
        if not self.file.reuse:
            self._remove_results(jobs)
        folder = f"{self.results}/{RESOURCES}"
        fleet.on_each(lambda instance: instance.create_dirs([folder]))
        local = {one.name: str(one.path) for one in self.resources if one.path}
        placed = fleet.send(local, folder, all_hosts=True)
        self._placed = {**placed, **{one.name: one.location for one in self.resources if one.location}}
        self._attributes = {
            "save_path": f"{fleet.home}/{self.name}",
            "env": fleet.describe(self._user_provider),
        }
        jobs.refresh_ray(always=fresh_ray)

    def to_yaml(self, extensions: Mapping[str, str] | None = None) -> str:
        """Write the file for the orchestrator: its own text with the changed values."""
        known = {one.name for one in self.file.extensions}
        paths = {name: path for name, path in (extensions or {}).items() if name in known}
        return self.file.rewrite(extensions=paths, resources=self._placed, attributes=self._attributes)

    def _remove_results(self, jobs: FileJobs) -> None:
        """Remove the results of an earlier job; current resources stay, so that they are not sent again."""
        kept = {f"{one.name}__{one.path.absolute().name}" for one in self.resources if one.path}
        folder = f"./{self.results}"
        excluded = " ".join(f"! -name {shlex.quote(name)}" for name in sorted(kept))
        command = (
            f"cd && if [ -d {folder} ]; then"
            f" find {folder} -mindepth 1 -maxdepth 1 ! -name {RESOURCES} -exec rm -rf -- {{}} + ;"
            f" if [ -d {folder}/{RESOURCES} ]; then"
            f" find {folder}/{RESOURCES} -mindepth 1 -maxdepth 1 {excluded} -exec rm -rf -- {{}} + ; fi; fi"
        )
        jobs.fleet.run_all(shlex.join(["/bin/sh", "-c", command]))  # the login shell may be csh


def results_folder(name: str) -> str:
    """Return the folder of an experiment's results, relative to the home folder."""
    return f"{name}/output__{name}"
