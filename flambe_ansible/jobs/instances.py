"""The hosts of a cluster under flambé's names, with the methods that need the cluster's runtime.

The names are those of ``flambe.cluster.instance`` in flambé 0.4.18. The methods do what flambé's do, by this project's
own means; docs/api.md lists the differences and their reasons.
"""

from __future__ import annotations

import posixpath
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from flambe_ansible.errors import ClusterConfigurationError, RayError, RemoteCommandError
from flambe_ansible.fleet import containers
from flambe_ansible.fleet.copying import KEY_FILE
from flambe_ansible.fleet.instance import Instance
from flambe_ansible.fleet.player import Player
from flambe_ansible.hosts import Host
from flambe_ansible.jobs import sites
from flambe_ansible.jobs.jobs import SUBMIT_PLAYBOOK, FileJobs
from flambe_ansible.runtimes import Runtime
from flambe_ansible.runtimes.flambe import (
    FIND_INSTALLED,
    REPORT_SITE_PORT,
    REPORT_SITE_UNIT,
    TENSORBOARD_PORT,
    TENSORBOARD_UNIT,
)
from flambe_ansible.runtimes.ray_service import RayService
from flambe_ansible.ssh import Connections

_PROGRESS = "state.pkl"  # flambé's own name, in the folder of an experiment's results


@dataclass(frozen=True, kw_only=True)
class HostWork:
    """What the hosts of a cluster use of it; the functions are called at each use.

    Attributes:
        runtime: What the hosts get installed.
        version: Returns the version of flambe that the cluster installs.
        player: Returns what plays the roles on the loaded hosts.
        jobs: Returns the jobs that a file describes.
        stop_job: Stops the job that runs.
        expose: Whether sites listen on all addresses.
    """

    runtime: Runtime
    version: Callable[[], str]
    player: Callable[[], Player]
    jobs: Callable[[], FileJobs]
    stop_job: Callable[[], object]
    expose: bool

    def require_ray(self) -> RayService:
        """Return Ray's service.

        Raises:
            ClusterConfigurationError: The runtime has no Ray.
        """
        if self.runtime.ray is None:
            raise ClusterConfigurationError(f"the hosts have runtime {self.runtime.name}, which has no Ray")
        return self.runtime.ray

    def find_head(self) -> Host:
        """Return the orchestrator."""
        return self.player().fleet.head


class ClusterInstance(Instance):
    """A host of a cluster.

    Args:
        host: The host's data.
        connections: Returns the cluster's connections; called at the first use.
        work: What it uses of its cluster.
    """

    def __init__(self, host: Host, connections: Callable[[], Connections], work: Callable[[], HostWork]) -> None:
        super().__init__(host, connections)
        self._work = work

    def prepare(self) -> None:
        """Install the cluster's runtime on this host; an installed one is unchanged.

        Raises:
            PlaybookError: It failed.
        """
        work = self._work()
        if work.runtime.install_tags:
            names = dict.fromkeys([work.find_head().name, self.name])  # a factory takes versions from the orchestrator
            work.player().play(tags=work.runtime.install_tags, limit=list(names))

    def install_flambe(self) -> None:
        """Install the cluster's runtime on this host, as ``prepare``."""
        self.prepare()

    def install_docker(self) -> None:
        """Install Docker on this host, as ``docker: true`` does; an installed one is unchanged.

        Raises:
            PlaybookError: It failed.
        """
        self._work().player().play(variables=containers.SWITCH, tags=[containers.TAG], limit=[self.name])

    def is_flambe_installed(self, version: bool = True) -> bool:
        """Return whether flambe is installed on this host.

        Args:
            version: Only if it is the version that the cluster installs.
        """
        found = self.ask(FIND_INSTALLED).strip()
        return bool(found) and (not version or found == self._work().version())

    def install_extensions(self, extensions: Mapping[str, str]) -> None:
        """Install extensions in the runtime of this host.

        Args:
            extensions: A path on the host, or a requirement, by module name.

        Raises:
            PlaybookError: An extension could not be installed.
        """
        self._work().jobs().install_extensions([self.data], extensions)

    def is_node_running(self) -> bool:
        """Return whether the unit of Ray runs on this host."""
        return self._is_active(self._work().require_ray().unit)

    def shutdown_node(self) -> None:
        """Stop Ray on this host."""
        self.run(self._work().require_ray().stop_command)

    def is_flambe_running(self) -> bool:
        """Return whether a job runs on this host; jobs run on the orchestrator."""
        return False

    def shutdown_flambe(self) -> None:
        """Stop the job that runs on this host; do nothing if there is none."""

    def _start_node(self, *, given: object, expected: object) -> None:
        """Start Ray as the launch configured it."""
        if given != expected:
            raise ClusterConfigurationError(
                f"{self.name}: Ray of this cluster is at {expected}, not at {given}",
                hint=f"call launch_node({expected!r}), or launch_ray_cluster() of the cluster",
            )
        self.run(f"sudo -n systemctl start {self._work().require_ray().unit}")

    def _is_active(self, unit: str) -> bool:
        return self.run(f"systemctl is-active --quiet {unit}", check=False).returncode == 0


class CPUFactoryInstance(ClusterInstance):
    """A factory."""

    def launch_node(self, redis_address: str) -> None:
        """Start Ray on this host, a node of the orchestrator's Ray; a running node is unchanged.

        Args:
            redis_address: The address of Ray on the orchestrator, ``IP:port``.

        Raises:
            ClusterConfigurationError: Ray of this cluster is at another address.
            RemoteCommandError: It could not be started.
        """
        work = self._work()
        self._start_node(given=redis_address, expected=f"{work.find_head().private_ip}:{work.require_ray().port}")


class GPUFactoryInstance(CPUFactoryInstance):
    """A factory with GPUs."""

    def is_cuda_installed(self) -> bool:
        """Return whether nvidia-smi runs on this host."""
        return self.send_cmd("nvidia-smi").success


class OrchestratorInstance(ClusterInstance):
    """The orchestrator."""

    def launch_node(self, port: int) -> None:
        """Start Ray's head on this host; a running head is unchanged.

        Args:
            port: The port of Ray.

        Raises:
            ClusterConfigurationError: Ray of this cluster has another port.
            RemoteCommandError: It could not be started.
        """
        self._start_node(given=port, expected=self._work().require_ray().port)

    def worker_nodes(self) -> list[str]:
        """Return the private addresses of the factories with a live Ray node.

        Raises:
            RayError: Ray does not answer.
        """
        nodes = self._work().require_ray().ask(self._connections(), self.data)
        if nodes.error:
            raise RayError(f"Ray on {self.name} does not answer: {nodes.error}", missing=[])
        return sorted(nodes.addresses - {self.private_host})

    def is_flambe_running(self) -> bool:
        """Return whether a job runs."""
        return self._work().jobs().get().active

    def shutdown_flambe(self) -> None:
        """Stop the job that runs; do nothing if there is none."""
        self._work().stop_job()

    def rsync_folder(self, _from: str, _to: str, exclude: Sequence[str] | None = None) -> None:
        """Copy the content of a folder between this host and another one, with the cluster's key pair.

        Args:
            _from: The folder, ``path`` here or ``user@address:path``.
            _to: The folder that gets its content, likewise.
            exclude: rsync patterns of files to leave out.

        Raises:
            RemoteCommandError: The transfer failed.
        """
        login = shlex.join(["ssh", "-i", f"{self.get_home_path()}/{KEY_FILE}", "-o", "BatchMode=yes"])
        patterns = [f"--exclude={one}" for one in exclude or ()]
        source = f"{_from.rstrip('/')}/"
        self.run(shlex.join(["rsync", "--archive", *patterns, "--rsh", login, "--", source, _to]))

    def launch_tensorboard(self, logs_dir: str, tensorboard_port: int = TENSORBOARD_PORT) -> None:
        """Run TensorBoard as a systemd unit; with ``runtime: ray`` it runs already, and shows the results of each job.

        Args:
            logs_dir: The folder with the event files; a relative path starts at the home folder.
            tensorboard_port: Its port.

        Raises:
            PlaybookError: It could not be installed or started.
        """
        work = self._work()
        work.jobs().show_results(logs_dir, expose=work.expose, port=tensorboard_port)

    def is_tensorboard_running(self) -> bool:
        """Return whether TensorBoard runs."""
        return self._is_active(TENSORBOARD_UNIT)

    def remove_tensorboard(self) -> None:
        """Stop TensorBoard; do nothing if it does not run."""
        self._stop(TENSORBOARD_UNIT)

    def launch_report_site(
        self,
        progress_file: str,
        port: int = REPORT_SITE_PORT,
        output_log: str = "output.log",
        output_dir: str = "",
        tensorboard_port: int = TENSORBOARD_PORT,
    ) -> None:
        """Run flambé's report site as a systemd unit.

        Args:
            progress_file: The file ``state.pkl`` in the folder of an experiment's results; it may be created later.
            port: Its port.
            output_log: The experiment's log; a relative path starts at the home folder.
            output_dir: The folder of the results; "" is that of ``progress_file``.
            tensorboard_port: TensorBoard's port.

        Raises:
            ClusterConfigurationError: The runtime has no report site, or ``progress_file`` is not in ``output_dir``.
            PlaybookError: It could not be started.
        """
        work, folder = self._work(), posixpath.normpath(output_dir or posixpath.dirname(progress_file) or ".")
        if work.runtime.jobs is None:
            raise ClusterConfigurationError(f"the report site needs `runtime: flambe`, not {work.runtime.name}")
        expected = posixpath.normpath(posixpath.join(folder, _PROGRESS))
        if posixpath.normpath(progress_file) != expected:
            raise ClusterConfigurationError(f"progress_file is {progress_file}, not {expected}")
        variables = {
            **sites.report_variables(folder, output_log, expose=work.expose),
            "report_site_port": port,
            "report_site_tensorboard_port": tensorboard_port,
        }
        work.player().play(SUBMIT_PLAYBOOK, variables=variables, tags=["report_site"], limit=[self.name])

    def is_report_site_running(self) -> bool:
        """Return whether the report site runs."""
        return self._is_active(REPORT_SITE_UNIT)

    def remove_report_site(self) -> bool:
        """Stop the report site; return whether it ran."""
        running = self.is_report_site_running()
        self._stop(REPORT_SITE_UNIT)
        return running

    def _stop(self, unit: str) -> None:
        """Stop a unit; a unit that is not installed is not an error."""
        stopped = self.run(f"sudo -n systemctl stop {unit}", check=False)
        if stopped.returncode not in (0, 5):  # 5: no such unit
            raise RemoteCommandError(
                f"{self.name}: {unit} could not be stopped: {stopped.stderr.strip()}",
                host=self.name,
                command=f"systemctl stop {unit}",
                returncode=stopped.returncode,
                output=stopped.stderr,
            )
