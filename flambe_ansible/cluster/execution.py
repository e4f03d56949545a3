"""Running things on a cluster: what is under way, extensions, and the start of a runnable."""

from __future__ import annotations

import posixpath
import shlex
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from flambe_ansible import secrets
from flambe_ansible.cluster import runs
from flambe_ansible.cluster.converge import play
from flambe_ansible.cluster.instance import Instance
from flambe_ansible.cluster.operations import Operations
from flambe_ansible.cluster.runs import RunState
from flambe_ansible.errors import RayError
from flambe_ansible.events import Status
from flambe_ansible.hosts import Host

PLAYBOOK = "submit.yml"
RUNNABLE_FILE = "flambe.yaml"  # in the home folder, flambé's own name
_SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_ENVIRONMENT = {"PYTHONUNBUFFERED": "1", "PYTHONWARNINGS": "ignore", "LC_ALL": "C.UTF-8", "LANG": "C.UTF-8"}


class Executable(Protocol):
    """What ``execute`` needs to know of a runnable.

    Attributes:
        name: What the run is called.
        program: The command's first words; the runnable's file and the secrets follow.
        options: The command's last words.
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
        """Write it as the file that the orchestrator gets."""


class Execution(Operations):
    """What runs on the cluster; after ``run`` or ``attach``."""

    def get_run(self) -> RunState:
        """Say how the last run stands."""
        return runs.ask(self.connections, self._get_orchestrator().data)

    def existing_flambe_execution(self) -> list[Instance]:
        """Return the hosts on which a run is under way: the orchestrator, or none."""
        return [self._get_orchestrator()] if self.get_run().active else []

    def shutdown_flambe_execution(self, *, replaced: bool = False) -> RunState:
        """End the run that is under way, if there is one, and make all hosts ready for the next.

        Args:
            replaced: Another run takes its place.

        Raises:
            RunError: It could not be ended.
        """
        found = self.get_run()
        if not (found.active or found.settling):
            return found
        words = ["stop", *(["--replaced"] if replaced else [])]
        return runs.read(runs.call(self.connections, self._get_orchestrator().data, *words))

    def install_extensions_in_orchestrator(self, extensions: Mapping[str, str]) -> None:
        """Install extensions in the runtime of the orchestrator.

        Args:
            extensions: By module name: a path on the host, or a requirement.

        Raises:
            PlaybookError: One could not be installed; names the extension, the host and the installer's reason.
            ClusterError: The orchestrator was not loaded.
        """
        self._install_extensions([self._get_orchestrator().data], extensions)

    def install_extensions_in_factories(self, extensions: Mapping[str, str]) -> None:
        """Install extensions in the runtimes of all factories, as ``install_extensions_in_orchestrator``."""
        self._install_extensions([one.data for one in self.factories], extensions)

    def prepare_run(self, variables: Mapping[str, Any], *, tags: Sequence[str] = (), playbook: str = PLAYBOOK) -> bool:
        """Run the playbook that prepares a run.

        Args:
            variables: Those of its roles.
            tags: Names of roles; none means all.
            playbook: Another playbook than that for flambé's experiments.

        Returns:
            Whether an extension was installed.

        Raises:
            PlaybookError: It failed on a host.
        """
        wanted = {**self._role_secrets(), **variables}
        played = play(self, self.options, playbook=playbook, variables=wanted, tags=tags)
        return any(
            (role := host.roles.get("extensions")) is not None and role.status is Status.CHANGED
            for host in played.values()
        )

    def refresh_ray(self, *, always: bool = False) -> None:
        """Start Ray afresh on all hosts where a run has used it since it was started.

        Args:
            always: Also where none has.

        Raises:
            RayError: It does not run on a host.
        """
        words = ["refresh", *(["--always"] if always else [])]
        answer = runs.call(self.connections, self._get_orchestrator().data, *words, document=self._describe_hosts())
        failed: dict[str, str] = answer.get("failed") or {}
        if failed:
            reasons = "; ".join(f"{name}: {reason}" for name, reason in failed.items())
            raise RayError(f"Ray could not be started afresh: {reasons}", missing=list(failed))

    def execute(
        self, cluster_runnable: Executable, extensions: Mapping[str, str], new_secrets: str, force: bool
    ) -> RunState:
        """Start a runnable on the orchestrator, as the unit of the run; it goes on when this process has ended.

        Args:
            cluster_runnable: The runnable, set up.
            extensions: Where its extensions are on the hosts, by module name.
            new_secrets: Path of the secrets on the orchestrator; "" where there are none.
            force: End a run that is under way.

        Returns:
            How it stands, just started.

        Raises:
            RunError: A run is under way, or it could not be started.
        """
        orchestrator = self._get_orchestrator()
        home = orchestrator.get_home_path()
        if force:
            self.shutdown_flambe_execution(replaced=True)
        self._write_private(RUNNABLE_FILE, cluster_runnable.to_yaml(extensions))
        program = list(cluster_runnable.program)
        given_secrets = ["--secrets", new_secrets] if new_secrets else []
        spec = {
            "name": cluster_runnable.name,
            "command": [*program, RUNNABLE_FILE, *given_secrets, *cluster_runnable.options],
            "directory": home,
            "log": runs.RUN_LOG,
            "save_path": f"{home}/{cluster_runnable.results}" if cluster_runnable.results else "",
            "hosts": self._describe_hosts(),
            "environment": {"PATH": f"{posixpath.dirname(program[0])}:{_SYSTEM_PATH}", **_ENVIRONMENT},
        }
        answer = runs.call(self.connections, orchestrator.data, "start", document=spec)
        return runs.read(answer)

    def _install_extensions(self, hosts: Sequence[Host], extensions: Mapping[str, str]) -> None:
        if extensions and hosts:
            variables = {"extensions_packages": dict(extensions), **self._role_secrets()}
            names = [host.name for host in hosts]
            play(self, self.options, playbook=PLAYBOOK, variables=variables, tags=["extensions"], limit=names)

    def _role_secrets(self) -> dict[str, str]:
        """Name the file of the private package index."""
        source = secrets.find(self.options.secrets_file)
        return {"extensions_secrets_src": str(source) if source else ""}

    def _describe_hosts(self) -> dict[str, Any]:
        return runs.describe_hosts(self.hosts, user=self.username)

    def _write_private(self, path: str, text: str) -> None:
        """Write a file below the orchestrator's home folder in one step, readable by its owner alone."""
        place, draft = (shlex.quote(f"./{name}") for name in (path, f"{path}.new"))
        command = f"cd && umask 077 && rm -f {draft} && cat > {draft} && mv -f {draft} {place}"
        self.connections.run(self._get_orchestrator().data, command, input=text)
