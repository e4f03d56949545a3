"""Custom runnables on a cluster whose jobs are commands: they run in the cluster's environment, one at a time."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from flambe_ansible import secrets
from flambe_ansible.errors import ClusterConfigurationError
from flambe_ansible.fleet.player import Player
from flambe_ansible.hosts import Host
from flambe_ansible.jobs import own_package
from flambe_ansible.jobs.command_state import CommandJob
from flambe_ansible.jobs.commands import ClusterJobs
from flambe_ansible.jobs.jobs import RUNNABLE_FILE, SUBMIT_PLAYBOOK, Executable, FileJobs, Jobs, changed_extensions
from flambe_ansible.jobs.state import JobState
from flambe_ansible.runtimes import CommandRunner, Runtime
from flambe_ansible.runtimes.flambe import TENSORBOARD_PORT

_OLDEST_PYTHON = (3, 11)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")  # a job's name


class RunnableJobs:
    """The custom runnables of one cluster as jobs of its ``ClusterJobs``; the methods are those of ``Jobs``.

    The extensions and this package are installed on all hosts, in a folder on top of the cluster's environment, so that
    the tasks of a runnable can import them.

    Args:
        player: Runs the playbook that installs extensions; its fleet is connected.
        runner: How the runtime runs commands.
        secrets_file: The user's secrets; None is the default file.
    """

    def __init__(self, player: Player, runner: CommandRunner, *, secrets_file: Path | None = None) -> None:
        self.fleet = player.fleet
        self._player = player
        self._runner = runner
        self._secrets_file = secrets_file
        self._commands = ClusterJobs(player.fleet, runner)

    def get(self) -> JobState:
        """Return the state of the runnable that is active, else of the last one; ``none`` if there was none."""
        found = [job for job in self._commands.list_if_prepared().jobs if self._is_runnable(job)]
        active = [job for job in found if job.active]
        return _read([*active, *found][0]) if found else JobState()

    def stop(self, *, replaced: bool = False) -> JobState:
        """Stop the runnable that is active, if there is one."""
        del replaced  # the next one starts under its own id
        found = self.get()
        return _read(self._commands.stop(found.id).job) if found.active else found

    def log_command(self, *, follow: bool = False, lines: int = 0) -> str:
        """Return the command on the orchestrator that prints the log of the runnable of ``get``."""
        found = self._commands.get(self.get().id, lines=lines)
        return self._commands.log_command(found.id, follow=follow, offset=found.offset)

    def install_extensions(self, hosts: Sequence[Host], extensions: Mapping[str, str]) -> None:
        """Install extensions for the runnables on these hosts."""
        if extensions and hosts:
            self.prepare({"cluster_extensions_packages": dict(extensions)}, limit=[host.name for host in hosts])

    def install_runnable(self, packages: Mapping[str, str]) -> None:
        """Install this package and these extensions on all hosts."""
        self._check_python()
        wheel = own_package.send(self.fleet.orchestrator)
        if self.fleet.factories:
            self.fleet.copy_to_factories([own_package.FOLDER])
        self.prepare({"cluster_extensions_packages": {own_package.MODULE: wheel, **packages}})

    def prepare(self, variables: Mapping[str, Any], *, limit: Sequence[str] = ()) -> bool:
        """Install extensions; return whether one was installed."""
        source = secrets.find(self._secrets_file)
        required = {own_package.MODULE: list(own_package.REQUIRED)}
        given = {
            "cluster_extensions_secrets_src": str(source) if source else "",
            "cluster_extensions_requires": required,
            **variables,
        }
        return changed_extensions(
            self._player.play(SUBMIT_PLAYBOOK, variables=given, tags=["cluster_extensions"], limit=limit)
        )

    def refresh_ray(self, *, always: bool = False) -> None:
        """Do nothing: this Ray runs several jobs, and needs no restart between them."""

    def show_results(self, results: str, *, expose: bool, port: int = TENSORBOARD_PORT) -> None:
        """Do nothing: TensorBoard shows the results of each job from its start."""

    def start(
        self,
        runnable: Executable,
        extensions: Mapping[str, str],
        *,
        secrets_path: str = "",
        release: Callable[[], None] = lambda: None,
    ) -> JobState:
        """Start a runnable on the orchestrator through Ray's Jobs API.

        ``release`` releases the reservation of the cluster, since no job starts on a reserved cluster.
        """
        self.fleet.write_private(RUNNABLE_FILE, runnable.to_yaml(extensions))
        site = self.fleet.orchestrator.ask(f"ls -d {shlex.quote(self._runner.extensions)}/lib/python3.*/site-packages")
        given_secrets = ["--secrets", secrets_path] if secrets_path else []
        release()
        job = self._commands.start(
            [*self._program, RUNNABLE_FILE, *given_secrets, *runnable.options],
            directory=self.fleet.home,
            env={"PYTHONPATH": site.strip(), "PYTHONUNBUFFERED": "1"},
            name=runnable.name if _NAME.fullmatch(runnable.name) else "",
            results=runnable.results,
        )
        return _read(job)

    @property
    def _program(self) -> list[str]:
        return [f"{self._runner.extensions}/bin/flambe-ans", *own_package.ARGUMENTS]

    def _is_runnable(self, job: CommandJob) -> bool:
        return list(job.command[: len(self._program)]) == self._program

    def _check_python(self) -> None:
        """Fail if the Python of the cluster's environment cannot run this package."""
        python = f"{self._runner.environment}/bin/python"
        program = "import sys; print(*sys.version_info[:2], sep='.')"
        found = self.fleet.orchestrator.ask(f"{shlex.quote(python)} -c {shlex.quote(program)}").strip()
        if tuple(int(part) for part in found.split(".")) < _OLDEST_PYTHON:
            raise ClusterConfigurationError(
                f"custom runnables need Python 3.11 or later, and the cluster's environment has {found}",
                hint='set `python: "3.12"` in the mapping `runtime` of the cluster\'s file',
            )


def make_file_jobs(player: Player, runtime: Runtime, *, secrets_file: Path | None = None) -> FileJobs:
    """Return the jobs of a cluster that a file describes; ``require_jobs`` has accepted the runtime."""
    if runtime.jobs:
        return Jobs(player, runtime.jobs, secrets_file=secrets_file)
    assert runtime.commands is not None  # noqa: S101 - it was checked
    return RunnableJobs(player, runtime.commands, secrets_file=secrets_file)


def _read(job: CommandJob) -> JobState:
    """Return the state of a command's job as that of a runnable."""
    return JobState(
        state=job.state,
        active=job.active,
        name=job.name,
        id=job.id,
        since=job.since,
        until=job.until,
        exit_code=job.exit_code,
        reason=job.reason,
        save_path=f"{job.folder}/{job.results}" if job.results else "",
        log=job.log,
    )
