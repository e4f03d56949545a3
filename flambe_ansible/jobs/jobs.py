"""Jobs on a cluster: the state of the last one, its start and its end."""

from __future__ import annotations

import json
import posixpath
import shlex
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from flambe_ansible import secrets
from flambe_ansible.errors import ClusterConfigurationError, PlaybookError, RayError, RunError
from flambe_ansible.events import Status
from flambe_ansible.fleet.fleet import Fleet
from flambe_ansible.fleet.player import Player
from flambe_ansible.hosts import Host
from flambe_ansible.jobs import own_package, state
from flambe_ansible.jobs.sites import tensorboard_variables
from flambe_ansible.jobs.state import JobState
from flambe_ansible.playbooks import HostResult
from flambe_ansible.runtimes import JobRunner, Runtime
from flambe_ansible.runtimes.flambe import TENSORBOARD_PORT

SUBMIT_PLAYBOOK = "submit.yml"
RUNNABLE_PLAYBOOK = "runnable.yml"
RUNNABLE_FILE = "flambe.yaml"  # flambé's own name, in the home folder
SETTLE_TIMEOUT = 480.0  # seconds for a job to end and for all hosts to be ready again
_SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_ENVIRONMENT = {"PYTHONUNBUFFERED": "1", "PYTHONWARNINGS": "ignore", "LC_ALL": "C.UTF-8", "LANG": "C.UTF-8"}


class Executable(Protocol):
    """What ``Jobs.start`` needs of a runnable.

    Attributes:
        name: The job's name.
        program: The first words of the command; the runnable's file and the secrets follow.
        options: The last words of the command.
        results: The folder of its results below the home folder, or "".
    """

    @property
    def name(self) -> str: ...  # noqa: D102

    @property
    def program(self) -> Sequence[str]: ...  # noqa: D102

    @property
    def options(self) -> Sequence[str]: ...  # noqa: D102

    @property
    def results(self) -> str: ...  # noqa: D102

    def to_yaml(self, extensions: Mapping[str, str] | None = None) -> str:
        """Write the file for the orchestrator."""


class FileJobs(Protocol):
    """The jobs that a file describes, one at a time; ``Jobs`` documents the methods."""

    fleet: Fleet

    def get(self) -> JobState: ...  # noqa: D102

    def stop(self, *, replaced: bool = False) -> JobState: ...  # noqa: D102

    def log_command(self, *, follow: bool = False, lines: int = 0) -> str: ...  # noqa: D102

    def install_extensions(self, hosts: Sequence[Host], extensions: Mapping[str, str]) -> None: ...  # noqa: D102

    def install_runnable(self, packages: Mapping[str, str]) -> None: ...  # noqa: D102

    def prepare(self, variables: Mapping[str, Any]) -> bool: ...  # noqa: D102

    def refresh_ray(self, *, always: bool = False) -> None: ...  # noqa: D102

    def show_results(self, results: str, *, expose: bool, port: int = TENSORBOARD_PORT) -> None: ...  # noqa: D102

    def start(  # noqa: D102
        self,
        runnable: Executable,
        extensions: Mapping[str, str],
        *,
        secrets_path: str = "",
        release: Callable[[], None] = lambda: None,
    ) -> JobState: ...


class Jobs:
    """The jobs of one cluster.

    Args:
        player: Runs the playbooks that prepare a job; its fleet is connected. Asking for the state needs the
            orchestrator alone.
        runner: How the runtime runs jobs.
        secrets_file: The user's secrets; None is the default file.
    """

    def __init__(self, player: Player, runner: JobRunner, *, secrets_file: Path | None = None) -> None:
        self.fleet = player.fleet
        self._player = player
        self._runner = runner
        self._secrets_file = secrets_file

    def get(self) -> JobState:
        """Return the state of the last job; ``none`` also if the orchestrator was never prepared for one.

        Raises:
            HostError: The orchestrator did not answer.
            RunError: Its answer is not a state.
        """
        program, none = shlex.quote(self._runner.command), shlex.quote(json.dumps({"state": state.NONE}))
        script = f"if test -x {program}; then exec {program} state; fi; echo {none}"
        return state.parse(self.fleet.orchestrator.ask(script, about="the last job"), host=self.fleet.head.name)

    def stop(self, *, replaced: bool = False) -> JobState:
        """Stop the job that runs, if there is one, and make all hosts ready for the next."""
        found = self.get()
        if not (found.active or found.settling):
            return found
        return state.read(self._call("stop", *(["--replaced"] if replaced else [])))

    def log_command(self, *, follow: bool = False, lines: int = 0) -> str:
        """Return the command on the orchestrator that prints the last job's log; 0 ``lines`` are all."""
        words = ["logs", *(["--follow"] if follow else []), *(["--lines", str(lines)] if lines else [])]
        return shlex.join([self._runner.command, *words])

    def install_extensions(self, hosts: Sequence[Host], extensions: Mapping[str, str]) -> None:
        """Install extensions in the runtime of these hosts."""
        if extensions and hosts:
            variables = {"cluster_extensions_packages": dict(extensions), **self._index_variables()}
            names = [host.name for host in hosts]
            self._player.play(SUBMIT_PLAYBOOK, variables=variables, tags=["cluster_extensions"], limit=names)

    def install_runnable(self, packages: Mapping[str, str]) -> None:
        """Install this package and these extensions on the orchestrator, for a custom runnable."""
        variables = own_package.variables(self.fleet.orchestrator)
        try:
            self.prepare({"cluster_extensions_packages": dict(packages), **variables}, playbook=RUNNABLE_PLAYBOOK)
        except PlaybookError as error:
            if not any(one.step == "python" for one in error.failures):
                raise
            message = "the orchestrator has no Python 3.11 or later for custom runnables, and downloading one failed"
            ways = "apt-get install python3.12 or python3.11, or a build below /opt"
            hint = f"install one with setup_cmds or in the image: {ways}"
            raise PlaybookError(message, failures=error.failures, log=error.log, hint=hint) from error

    def show_results(self, results: str, *, expose: bool, port: int = TENSORBOARD_PORT) -> None:
        """Show a folder in TensorBoard; a relative path starts at the home folder."""
        folder = posixpath.join(self.fleet.home, results)
        variables = {**tensorboard_variables(folder, expose=expose), "tensorboard_port": port}
        self.prepare(variables, playbook=RUNNABLE_PLAYBOOK, tags=["tensorboard"])

    def prepare(
        self, variables: Mapping[str, Any], *, tags: Sequence[str] = (), playbook: str = SUBMIT_PLAYBOOK
    ) -> bool:
        """Run the playbook that prepares a job; return whether an extension was installed."""
        return changed_extensions(
            self._player.play(playbook, variables={**self._index_variables(), **variables}, tags=tags)
        )

    def refresh_ray(self, *, always: bool = False) -> None:
        """Restart Ray on all hosts, if a job has used it since its start or ``always`` is set."""
        answer = self._call("refresh", *(["--always"] if always else []), document=self._describe_hosts())
        failed: dict[str, str] = answer.get("failed") or {}
        if failed:
            reasons = "; ".join(f"{name}: {reason}" for name, reason in failed.items())
            raise RayError(f"Ray could not be restarted: {reasons}", missing=list(failed))

    def start(
        self,
        runnable: Executable,
        extensions: Mapping[str, str],
        *,
        secrets_path: str = "",
        release: Callable[[], None] = lambda: None,
    ) -> JobState:
        """Start a runnable on the orchestrator as a systemd unit, which does not depend on this process.

        ``release`` releases the reservation of the cluster; it is not needed here.
        """
        del release
        self.fleet.write_private(RUNNABLE_FILE, runnable.to_yaml(extensions))
        program, home = list(runnable.program), self.fleet.home
        given_secrets = ["--secrets", secrets_path] if secrets_path else []
        spec = {
            "name": runnable.name,
            "command": [*program, RUNNABLE_FILE, *given_secrets, *runnable.options],
            "directory": home,
            "log": self._runner.log,
            "save_path": f"{home}/{runnable.results}" if runnable.results else "",
            "hosts": self._describe_hosts(),
            "environment": {"PATH": f"{posixpath.dirname(program[0])}:{_SYSTEM_PATH}", **_ENVIRONMENT},
        }
        return state.read(self._call("start", document=spec))

    def _call(self, *words: str, document: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Call the runtime's job command on the orchestrator and return its JSON answer."""
        host, line = self.fleet.head, shlex.join([self._runner.command, *words])
        given = json.dumps(document) if document is not None else None
        done = self.fleet.connections.run(host, line, input=given, timeout=SETTLE_TIMEOUT, check=False)
        try:
            answer: dict[str, Any] = json.loads(done.stdout.strip().rpartition("\n")[2])
        except ValueError:
            output = (done.stderr or done.stdout).strip().rpartition("\n")[2]
            raise RunError(f"{host.name}: {line}: {output or f'exit code {done.returncode}'}") from None
        if "error" in answer:
            raise RunError(f"{host.name}: {answer['error']}", state=answer.get("run", {}).get("state", ""))
        return answer

    def _describe_hosts(self) -> dict[str, Any]:
        """Describe the hosts by the addresses that they use among themselves."""

        def describe(host: Host) -> dict[str, Any]:
            return {"name": host.name, "address": host.private_ip, "port": host.private_port}

        workers = [describe(one.data) for one in self.fleet.factories]
        return {"user": self.fleet.username, "head": describe(self.fleet.head), "workers": workers}

    def _index_variables(self) -> dict[str, str]:
        """Return the variable with the file of the private package index."""
        source = secrets.find(self._secrets_file)
        return {"cluster_extensions_secrets_src": str(source) if source else ""}


def changed_extensions(played: Mapping[str, HostResult]) -> bool:
    """Return whether a playbook installed an extension on a host."""
    roles = [host.roles.get("cluster_extensions") for host in played.values()]
    return any(role is not None and role.status is Status.CHANGED for role in roles)


def require_jobs(runtime: Runtime, cluster: str, *, experiment: bool = False) -> None:
    """Raise ``ClusterConfigurationError`` if a runtime cannot run custom runnables, or an experiment."""
    if runtime.jobs or (runtime.commands and not experiment):
        return
    message = f"cluster {cluster} has runtime {runtime.name}, which cannot run "
    if runtime.commands:
        hint = "launch a cluster with `runtime: flambe` for it; this one runs custom runnables, and commands:"
        command = "flambe-ans submit --cluster CLUSTER -- python train.py"
        raise ClusterConfigurationError(f"{message}experiments of flambé", hint=f"{hint} {command}")
    raise ClusterConfigurationError(
        f"{message}jobs", hint="set `runtime: flambe` in the cluster's file and launch it again"
    )
