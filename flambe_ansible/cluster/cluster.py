"""The base class of all clusters.

It follows flambé's ``flambe.cluster.cluster.Cluster``: the same names, arguments and order of methods. Each
method calls a part: ``providers`` for the hosts, ``fleet`` for connections and transfers, ``launch``, ``runtimes``,
``jobs``.
"""

from __future__ import annotations

import logging
import time
from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, ClassVar, Self

from flambe_ansible import events, secrets
from flambe_ansible.errors import (
    ClusterConfigurationError,
    ClusterError,
    ClusterNotFoundError,
    HostConnectionError,
    HostError,
    HostKeyError,
    RunError,
    UnsupportedHostError,
)
from flambe_ansible.findings import Finding
from flambe_ansible.fleet import containers, idle, records
from flambe_ansible.fleet.access import ANSWER_TIMEOUT, Access, Limits, limited_to
from flambe_ansible.fleet.containers import Container
from flambe_ansible.fleet.fleet import Fleet
from flambe_ansible.fleet.idle import IdleOptions, IdleState
from flambe_ansible.fleet.instance import Instance
from flambe_ansible.fleet.player import Player
from flambe_ansible.fleet.reservation import Reservation, Waiting, reserve_running
from flambe_ansible.gpus import HostGpus
from flambe_ansible.hosts import (
    LIVE_STATES,
    Host,
    HostState,
    Location,
    Role,
    factory_name,
    find_heads,
    make_host,
    orchestrator_name,
    sort_hosts,
)
from flambe_ansible.jobs import state
from flambe_ansible.jobs.commands import ClusterJobs, require_commands
from flambe_ansible.jobs.fleets import Fleets
from flambe_ansible.jobs.instances import CPUFactoryInstance, GPUFactoryInstance, HostWork, OrchestratorInstance
from flambe_ansible.jobs.jobs import FileJobs, require_jobs
from flambe_ansible.jobs.runnables import make_file_jobs
from flambe_ansible.jobs.state import JobState
from flambe_ansible.launch import converging, gpus, launch, lock, protecting, shrinking, status
from flambe_ansible.launch.connecting import connect_each
from flambe_ansible.launch.costs import Costs
from flambe_ansible.launch.early import EarlyLaunch, EarlyVerification, is_complete, verify_early
from flambe_ansible.launch.launch import FailedHost, LaunchOptions, LaunchResult, Submission
from flambe_ansible.launch.plan import Plan
from flambe_ansible.launch.planning import make_plan
from flambe_ansible.launch.querying import StatusQuery
from flambe_ansible.launch.status import ClusterStatus
from flambe_ansible.paths import cluster_state
from flambe_ansible.providers import Provider
from flambe_ansible.providers.given import RecordedProvider, not_managed
from flambe_ansible.runnable.environment import RemoteEnvironment
from flambe_ansible.runnable.runnable import Runnable
from flambe_ansible.runtimes import NodeOptions, Runtime, RuntimeVersion, make_runtime
from flambe_ansible.runtimes.ray_service import RayNodes, RayService
from flambe_ansible.ssh import Connections, host_entries
from flambe_ansible.ssh.parallel import join

if TYPE_CHECKING:
    from flambe_ansible.jobs.executing import Startable
    from flambe_ansible.jobs.submission import Submittable

logger = logging.getLogger(__name__)


class Cluster(Runnable):
    """A cluster of one orchestrator and N factories.

    A context manager: at the end it closes its connections. If the block raises an error, the error is logged, the
    hosts that this object created are terminated, and the error is raised again (flambé ends the process instead).

    Args:
        name: The cluster's name; its hosts are named after it.
        factories_num: The number of factories.
        key: The path of the user's private SSH key, the same for all hosts.
        username: The user to log in as, the same on all hosts.
        setup_cmds: Commands for bash that run in order on every host. They must be idempotent and read no input.
        runtime: What the hosts get installed: ``flambe``, ``ray`` or ``none``; a mapping has the options of ``ray``.
        flambe_version: The release of flambe; None is the flambe installed on this machine.
        flambe_source: The path of a checkout of flambe that is installed instead of a release.
        use_public: Whether this machine connects to public addresses, otherwise to private ones.
        strict_host_keys: Refuse a host without a trusted host key, instead of pinning the first key it offers.
        setup_timeout: Seconds that one setup command may take.
        install_timeout: Seconds that one command of the installation may take.
        expose_sites: Whether TensorBoard and the report site listen on all addresses, not on loopback alone. Ray's
            dashboard never does.
        answer_timeout: Seconds for a running host to accept a login, or to answer one query.
        boot_timeout: Seconds from the start of a host until it accepts a login; None depends on its type.
        factories_resources: Resources of each factory for Ray's scheduler, name to amount.
        orchestrator_resources: Resources of the orchestrator; without them it has no CPUs for tasks.
        factories_labels: Labels of each factory for Ray's scheduler.
        idle_cpu_percent: A host is idle if its CPU use is below this, in percent of one CPU.
        idle_gpu_percent: A host is idle if the use of each GPU, and of its memory, is below this, in percent.
        idle_command: A command for bash; a host is not idle if it exits with 0.
        nvidia_driver: What is done on hosts with NVIDIA GPUs: ``require`` a working driver, ``install`` it if there is
            none, or ``ignore`` the GPUs.
        docker: Whether all hosts get Docker.
        proxy_jump: The bastion, ``[user@]host[:port]``; None is the one in ``~/.ssh/config``, ``none`` is no bastion.

    Attributes:
        orchestrator: The loaded orchestrator, or None.
        factories: The loaded factories.
        created: Names of the hosts that this object created; a custom class appends to it.
        observer: Receives events and notices.
        options: The options of the last launch.
        wait_limit: Seconds for which a launch, submission, stop or termination waits while another process has
            reserved the cluster.
        orchestrator_timeout: Idle hours until the orchestrator powers itself off; -1 never, 0 five minutes.
        factories_timeout: The same for the factories.
    """

    is_cluster: ClassVar[bool] = True
    provider: ClassVar[str] = ""  # the provider's name in plans and state folders; "" is the class's name
    ends_hosts: ClassVar[bool] = False  # whether terminate_instances terminates hosts
    membership_hint: ClassVar[str | None] = None  # how hosts are added and removed, if it is not by commands
    orchestrator_timeout: int = idle.NEVER
    factories_timeout: int = idle.NEVER
    min_factories: int | None = None  # with how many factories a launch succeeds; None is all

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Record that a class with its own ``terminate_instances`` terminates hosts."""
        super().__init_subclass__(**kwargs)
        cls.ends_hosts = cls.ends_hosts or "terminate_instances" in vars(cls)

    def __init__(
        self,
        name: str,
        factories_num: int,
        key: str,
        username: str,
        setup_cmds: list[str] | None = None,
        *,
        runtime: str | Mapping[str, Any] = "flambe",
        flambe_version: str | None = None,
        flambe_source: str | None = None,
        use_public: bool = True,
        strict_host_keys: bool = False,
        setup_timeout: float = 3600.0,
        install_timeout: float = 1800.0,
        expose_sites: bool = False,
        answer_timeout: float = ANSWER_TIMEOUT,
        boot_timeout: float | None = None,
        factories_resources: Mapping[str, float] | None = None,
        orchestrator_resources: Mapping[str, float] | None = None,
        factories_labels: Mapping[str, str] | None = None,
        idle_cpu_percent: float = 30.0,
        idle_gpu_percent: float = 5.0,
        idle_command: str | None = None,
        nvidia_driver: str = "require",
        docker: bool = False,
        proxy_jump: str | None = None,
    ) -> None:
        super().__init__()
        self.name = name
        self.factories_num = factories_num
        self.key = str(Path(key).expanduser().absolute()) if key else ""
        self.username = username
        self.setup_cmds = setup_cmds
        self.runtime = runtime
        self.flambe_version = flambe_version
        self.flambe_source = str(Path(flambe_source).expanduser().absolute()) if flambe_source else None
        self.use_public = use_public
        self.strict_host_keys = strict_host_keys
        self.setup_timeout = setup_timeout
        self.install_timeout = install_timeout
        self.expose_sites = expose_sites
        self.answer_timeout = answer_timeout
        self.boot_timeout = boot_timeout
        self.factories_resources = factories_resources
        self.orchestrator_resources = orchestrator_resources
        self.factories_labels = factories_labels
        self.idle_cpu_percent = idle_cpu_percent
        self.idle_gpu_percent = idle_gpu_percent
        self.idle_command = idle_command
        self.nvidia_driver = nvidia_driver
        self.docker = docker
        self.proxy_jump = proxy_jump
        self.observer: events.Observer = events.ignore
        self.orchestrator: OrchestratorInstance | None = None
        self.factories: list[CPUFactoryInstance] = []
        self.created: list[str] = []
        self.options = LaunchOptions()
        self.wait_limit = 0.0
        self._version: RuntimeVersion | None = None
        self._launched = False  # a launch has succeeded
        self._gpu_factories: set[str] = set()  # names of the factories from get_gpu_factory
        self._replaced: list[Host] = []  # the hosts that the next launch replaces
        self._open_access: Access | None = None
        self._reservation: Reservation | None = None
        self._early: EarlyVerification | None = None  # of the launch that runs
        self._prepared: EarlyLaunch | None = None  # of the launch that is planned

    @classmethod
    def tag(cls) -> str:
        """Return the YAML tag of this class; those of this package have no module."""
        return f"!{cls.__name__}" if cls.__module__.startswith("flambe_ansible.") else super().tag()

    # flambé's methods, in its order.

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc_value: BaseException | None, tb: TracebackType | None
    ) -> None:
        try:
            if exc_value is not None:
                logger.error("%s: %s", type(self).__name__, exc_value)
                if not self._launched:
                    self.rollback_env()
        finally:
            self.close()

    def get_orchestrator_name(self) -> str:
        """Return ``<name>_orchestrator``."""
        return orchestrator_name(self.name)

    def get_factory_basename(self) -> str:
        """Return ``<name>_factory``."""
        return factory_name(self.name)

    @abstractmethod
    def load_all_instances(self) -> None:
        """Create all hosts that do not exist; set ``hosts``, or call ``get_orchestrator`` and ``get_factory``."""

    def _get_all_hosts(self) -> list[Instance]:
        """Return all loaded hosts, the factories first, as flambé does."""
        return [*self.factories, self.fleet.orchestrator]

    def create_dirs(self, relative_dirs: list[str]) -> None:
        """Create folders below the home folder of every host; existing ones are unchanged."""
        self.fleet.on_each(lambda instance: instance.create_dirs(relative_dirs))

    def prepare_all_instances(self) -> None:
        """Install the runtime on all hosts.

        Raises:
            PlaybookError: It failed on a host.
        """
        if self._runtime.install_tags:
            self._player.play(tags=self._runtime.install_tags)

    def run(self, force: bool = False, **kwargs: Any) -> LaunchResult:
        """Create or update the cluster: hosts, roles, Ray. Idempotent.

        A factory that fails does not stop the others: it is in ``failed`` of the result, and is not loaded afterwards.

        Args:
            force: Restart Ray and change its runtime if that is needed, even if it ends a running job.
            kwargs: The other fields of ``LaunchOptions``.

        Raises:
            ClusterBusyError: Another process has reserved the cluster, or a running job would be ended.
            FlambeAnsibleError: A step failed, on the orchestrator or on all factories.
        """
        return self._launch(LaunchOptions(force=force, **kwargs), check=lambda: None)

    def run_cmds(self, setup_cmds: list[str]) -> None:
        """Run commands in order on all hosts at once.

        Raises:
            RemoteCommandError: A command failed on a host.
        """
        self.fleet.run_cmds(setup_cmds)

    def get_orchestrator(
        self, ip: str, private_ip: str | None = None, use_public: bool = True, *, port: int = 22
    ) -> OrchestratorInstance:
        """Make the host at an address the cluster's orchestrator.

        Args:
            ip: Its public address, or its only one.
            private_ip: The address that the other hosts connect to.
            use_public: Whether this machine connects to ``ip``, if the cluster's own ``use_public`` is set.
            port: The port of its sshd.

        Returns:
            The host; it can be used at once.
        """
        outside, name = use_public and self.use_public, self.get_orchestrator_name()
        host = make_host(name, Role.ORCHESTRATOR, ip=ip, private_ip=private_ip, port=port, use_public=outside)
        self.orchestrator = self._fleets.make_orchestrator(host)
        return self.orchestrator

    def get_orch_home_path(self) -> str:
        """Return the home folder of the cluster's user on the orchestrator.

        Raises:
            ClusterError: The orchestrator is not loaded.
        """
        return self.fleet.home

    def get_factory(
        self, ip: str, private_ip: str | None = None, use_public: bool = True, *, port: int = 22
    ) -> CPUFactoryInstance:
        """Make the host at an address the cluster's next factory; the arguments are those of ``get_orchestrator``.

        A host that is a factory already is returned unchanged.
        """
        index = max((one.data.index for one in self.factories), default=-1) + 1
        outside, name = use_public and self.use_public, factory_name(self.name, index)
        host = make_host(name, Role.FACTORY, index=index, ip=ip, private_ip=private_ip, port=port, use_public=outside)
        known = next((one for one in self.factories if one.data.alias == host.alias), None)
        if known is None:
            known = self._fleets.make_factory(host)
            self.factories.append(known)
        return known

    def get_gpu_factory(
        self, ip: str, private_ip: str | None = None, use_public: bool = True, *, port: int = 22
    ) -> CPUFactoryInstance:
        """Make the host at an address a ``GPUFactoryInstance``, as ``get_factory``; its GPUs are detected on it."""
        known = self.get_factory(ip, private_ip, use_public, port=port)
        self._gpu_factories.add(known.name)
        found = known if isinstance(known, GPUFactoryInstance) else self._fleets.make_factory(known.data)
        self.factories[:] = [found if one is known else one for one in self.factories]
        return found

    def launch_ray_cluster(self) -> None:
        """Start Ray on all hosts: the head on the orchestrator (no CPUs), a node on each factory."""
        self._player.play(tags=[self._ray.tag])

    def check_ray_cluster(self) -> bool:
        """Return whether Ray has a live node on every host."""
        return not self._ask_ray().find_missing(self.hosts)

    def shutdown_ray_cluster(self) -> None:
        """Stop Ray on all hosts."""
        self.fleet.run_all(self._ray.stop_command)

    def existing_ray_cluster(self) -> list[Instance]:
        """Return the hosts with a live Ray node, the factories first; none if Ray's head does not answer."""
        alive = self._ask_ray().addresses
        return [one for one in self._get_all_hosts() if one.data.private_ip in alive]

    def existing_flambe_execution(self) -> list[Instance]:
        """Return the hosts on which a job runs: the orchestrator, or none."""
        return [self.fleet.orchestrator] if self._fleets.list_active(self.fleet) else []

    def shutdown_flambe_execution(self, *, replaced: bool = False) -> JobState:
        """Stop the job that runs, if there is one, and make all hosts ready for the next.

        Args:
            replaced: Another job takes its place.

        Raises:
            ClusterBusyError: Another process has reserved the cluster.
            RunError: It could not be stopped.
        """
        found = self.file_jobs.get()
        if not (found.active or found.settling):
            return found
        with self.reserve("stop") as reservation:
            reservation.take(self.connections, self.fleet.head)
            return self.file_jobs.stop(replaced=replaced)

    def existing_dir(self, _dir: str) -> bool:
        """Return whether a folder exists on at least one host.

        Args:
            _dir: The folder; a relative path starts at the home folder.
        """
        return any(self.fleet.on_each(lambda instance: instance.existing_dir(_dir)).values())

    def is_ray_cluster_up(self) -> bool:
        """Return whether the Ray on the orchestrator answers."""
        return not self._ask_ray().error

    def rollback_env(self) -> None:
        """Terminate the hosts that this object created, and no others."""
        gone = self._provider.roll_back()
        self.hosts = [host for host in self.hosts if host.instance_id not in gone]
        if gone:
            self.created.clear()

    def parse(self) -> None:
        """Check what a single field cannot show.

        Raises:
            ClusterConfigurationError: The configuration cannot work.
        """

    def send_local_content(
        self, content: Mapping[str, str], dest: str, all_hosts: bool = False, *, exclude: Sequence[str] = ()
    ) -> dict[str, str]:
        """Send local files and folders to the orchestrator, and from there to the factories.

        Args:
            content: Local paths by name. A value that is not an existing path is returned unchanged.
            dest: The folder on the hosts, below the home folder.
            all_hosts: Send to all hosts, not to the orchestrator alone.
            exclude: rsync patterns of files to leave out.

        Returns:
            The path on the hosts by name, ``<home>/<dest>/<name>__<file or folder>``.

        Raises:
            RemoteCommandError: A transfer failed.
            ClusterError: The orchestrator is not loaded.
        """
        return self.fleet.send(content, dest, all_hosts=all_hosts, exclude=exclude)

    def rsync_orch(self, folder: str) -> None:
        """Copy a folder of the orchestrator to the same path on all factories, with the cluster's key pair.

        Other files on the factories stay; unchanged files are not sent again.

        Args:
            folder: The folder, relative to the home folder.

        Raises:
            RemoteCommandError: It failed for a factory; the message names it.
        """
        self.fleet.copy_to_factories([folder])

    def send_secrets(self, whitelist: list[str] | None = None) -> str:
        """Send the user's secrets to the orchestrator, as ``~/secrets.ini`` (0600).

        Args:
            whitelist: Send only these sections.

        Returns:
            The file's path on the orchestrator.

        Raises:
            MissingSecretsError: A section does not exist.
        """
        from flambe_ansible.jobs.submission import SECRETS

        self.options.secrets_sections = whitelist
        self.options.check()
        self._player.play(tags=["cluster_secrets"])
        return f"{self.fleet.home}/{SECRETS}"

    def execute(
        self, cluster_runnable: Startable, extensions: Mapping[str, str], new_secrets: str, force: bool
    ) -> JobState:
        """Start a runnable on the orchestrator as a systemd unit, which does not depend on this process.

        Args:
            cluster_runnable: What ``flambe_ansible.read`` returned, or a ``ClusterRunnable``. A file's extensions and
                resources are sent first. ``setup`` is called unless the object has its ``env``.
            extensions: The paths of extensions on the hosts, by module name.
            new_secrets: The path of the secrets on the orchestrator, or "".
            force: Stop a job that runs, and replace results of the same name.

        Returns:
            The state right after the start.

        Raises:
            ClusterConfigurationError: It cannot run on this cluster.
            RunError: A job runs, there are results of the same name, or the start failed.
        """
        from flambe_ansible.jobs import executing

        return executing.execute(
            self.file_jobs,
            cluster_runnable,
            extensions,
            cluster=self,
            force=force,
            expose=self.expose_sites,
            secrets_path=new_secrets,
            secrets_file=self.options.secrets_file,
            observer=self.observer,
        )

    def remove_dir(self, _dir: str, content_only: bool = True, all_hosts: bool = True) -> None:
        """Remove a folder below the home folder; a missing folder is not an error.

        Args:
            _dir: The folder, relative to the home folder.
            content_only: Keep the folder itself, empty.
            all_hosts: On all hosts, or on the orchestrator alone.

        Raises:
            ClusterConfigurationError: The path is the home folder itself or outside of it.
            RemoteCommandError: It could not be removed on a host.
        """
        if all_hosts:
            self.fleet.on_each(lambda instance: instance.remove_dir(_dir, content_only))
        else:
            self.fleet.orchestrator.remove_dir(_dir, content_only)

    def cluster_has_key(self) -> bool:
        """Return whether all hosts have the same cluster key pair."""
        return self.fleet.has_same_key()

    def distribute_keys(self) -> None:
        """Give all hosts the cluster's key pair; an existing pair is kept."""
        self._player.play(tags=["cluster_keys"])

    def contains_gpu_factories(self) -> bool:
        """Return whether nvidia-smi lists a GPU on a factory."""
        return any(self.fleet.count_gpus())

    def contains_gpu_orchestrator(self) -> bool:
        """Return whether nvidia-smi lists a GPU on the orchestrator."""
        return self.fleet.orchestrator.contains_gpu()

    def get_max_resources(self) -> dict[str, int]:
        """Return what every factory has at least: ``{"cpu": N, "gpu": M}``, the smallest number of each."""
        counted = {"cpu": self.fleet.count_cpus(), "gpu": self.fleet.count_gpus()}
        return {name: min(numbers, default=0) for name, numbers in counted.items()}

    def install_extensions_in_orchestrator(self, extensions: Mapping[str, str]) -> None:
        """Install extensions in the runtime of the orchestrator.

        Args:
            extensions: A path on the host, or a requirement, by module name.

        Raises:
            PlaybookError: An extension could not be installed; names it, the host and the installer's message.
            ClusterError: The orchestrator is not loaded.
        """
        self.file_jobs.install_extensions([self.fleet.head], extensions)

    def install_extensions_in_factories(self, extensions: Mapping[str, str]) -> None:
        """Install extensions in the runtimes of all factories, as ``install_extensions_in_orchestrator``."""
        self.file_jobs.install_extensions([one.data for one in self.factories], extensions)

    def install_docker(self) -> None:
        """Install Docker on all hosts, as ``docker: true`` does; an installed one is unchanged.

        Raises:
            PlaybookError: It failed on a host.
        """
        self._player.play(variables=containers.SWITCH, tags=[containers.TAG])

    def is_docker_installed(self) -> bool:
        """Return whether Docker is installed on all hosts."""
        return all(self.fleet.on_each(lambda instance: instance.is_docker_installed()).values())

    def is_docker_running(self) -> bool:
        """Return whether Docker answers the cluster's user on all hosts."""
        return all(self.fleet.on_each(lambda instance: instance.is_docker_running()).values())

    def run_container(
        self,
        image: str,
        command: str | Sequence[str] | None = None,
        ports: Sequence[int | str] = (),
        volumes: Sequence[str] = (),
        env: Mapping[str, str] | None = None,
        gpus: int | str | Sequence[int | str] | None = None,
        name: str | None = None,
        *,
        all_hosts: bool = False,
    ) -> dict[str, Container]:
        """Start a container on the orchestrator, or with ``all_hosts`` on every host; return it by the host's name.

        The other arguments are those of ``Instance.run_container``.
        """
        arguments = (image, command, ports, volumes, env, gpus, name)
        if all_hosts:
            return self.fleet.on_each(lambda instance: instance.run_container(*arguments))
        return {self.fleet.head.name: self.fleet.orchestrator.run_container(*arguments)}

    def clean_containers(self) -> None:
        """Stop and remove all containers on all hosts."""
        self.fleet.on_each(lambda instance: instance.clean_containers())

    def clean_container_by_image(self, image_name: str) -> None:
        """Stop and remove the containers of an image on all hosts."""
        self.fleet.on_each(lambda instance: instance.clean_container_by_image(image_name))

    def clean_container_by_command(self, command: str) -> None:
        """Stop and remove the containers whose command line contains a text on all hosts."""
        self.fleet.on_each(lambda instance: instance.clean_container_by_command(command))

    def get_remote_env(self, user_provider: Callable[[], str]) -> RemoteEnvironment:
        """Describe the cluster for a runnable on the orchestrator.

        Args:
            user_provider: Returns the name of the submitting user.

        Raises:
            ClusterError: The orchestrator is not loaded.
        """
        return self.fleet.describe(user_provider)

    # What a custom class may override, and what flambé does not have.

    def find_hosts(self) -> list[Host]:
        """Return the existing hosts, the orchestrator first; change nothing."""
        return self._provider.find() or self.hosts

    def prepare_launch(self) -> None:
        """Reserve the cluster and verify its hosts in the background while a launch is planned; ``run`` uses that.

        Does nothing unless connections were started to all of its hosts. ``abandon_launch`` and ``close`` end it.

        Raises:
            SourceError: The checkout of flambe cannot be built.
        """
        hosts = self._access.list_early()
        if is_complete(hosts, factories=self.factories_num) and not lock.is_held(self.state_dir):
            self.resolve_runtime()
            self._prepared = EarlyLaunch(hosts, self._fleets)

    def abandon_launch(self) -> None:
        """End what ``prepare_launch`` started, with its connections: other commands can reserve the cluster."""
        if self._prepared:
            self._prepared.cancel()
            self._prepared = None
            self._access.connections.close()

    def plan(self) -> Plan:
        """Return what ``run`` would do; change nothing.

        Raises:
            ClusterConfigurationError: Something that a creation needs does not exist or does not fit.
            SourceError: The checkout of flambe cannot be built.
        """
        version, hosts = self.resolve_runtime(), self._provider.plan()
        return make_plan(
            hosts,
            version,
            cluster=self.name,
            provider=self.provider or type(self).__name__,
            runtime=self._runtime.name,
            cuda_limit=self._cuda_limit,
            replaced=self._replaced,
            state_dir=self.state_dir,
        )

    def terminate_instances(self) -> list[Host]:
        """Terminate every host of the cluster, and return them.

        Raises:
            ClusterConfigurationError: The hosts are not managed by this project.
        """
        self.check_termination()
        host_entries.remove(self.state_dir)
        return self._provider.terminate()

    def check_termination(self) -> list[Host]:
        """Return the hosts that ``terminate_instances`` terminates; change nothing.

        Raises:
            ClusterConfigurationError: It terminates none.
        """
        if not self.ends_hosts:
            ray = self._runtime.ray
            hint = f"to stop Ray on them: flambe-ans exec CLUSTER -- {ray.disable_command}" if ray else None
            raise not_managed(self.name, type(self).__name__, hint=hint)
        return self.find_hosts()

    def location(self) -> Location:
        """Return where the hosts are, or are created."""
        return self._provider.location()

    def diagnose(self) -> list[Finding]:
        """Check the existing hosts: the login, the host keys, and what every host must have; change nothing."""
        from flambe_ansible.doctor.hosts import examine_apart

        return examine_apart(
            self.find_hosts(),
            self.known_hosts,
            self._make_access,
            patience=self._limits.for_query,
            machines=self._runtime.machines,
            refuse=self._refuse_newer,
        )

    def find_dead(self) -> dict[str, HostConnectionError]:
        """Return why running hosts do not answer, by name; a host that refuses the login or shows a wrong key answers.

        Raises:
            ClusterConfigurationError: The hosts are not managed by this project, so that none can be replaced.
            HostConnectionError: No host answers.
        """
        self._provider.replace([])
        running = [host for host in self.find_hosts() if host.state is HostState.RUNNING]
        patience, observer = self._limits.for_launch, self.observer
        return self._access.find_dead(running, cluster=self.name, patience=patience, observer=observer)

    def replace_hosts(self, names: Iterable[str]) -> None:
        """Let the next launch terminate these hosts and create them anew.

        Raises:
            ClusterConfigurationError: The hosts are not managed by this project.
        """
        wanted = set(names)
        self._replaced = [host for host in self.find_hosts() if host.name in wanted]
        self._provider.replace(self._replaced)

    def check_management(self) -> None:
        """Check that single hosts can be stopped, started and terminated.

        Raises:
            ClusterConfigurationError: The hosts are not managed by this project.
        """
        if not self._provider.manages_hosts:
            raise not_managed(self.name, type(self).__name__, hint=self.membership_hint)

    def check_suspension(self, *, force: bool = False) -> list[Host]:
        """Return the hosts that ``suspend`` stops; change nothing.

        Raises:
            ClusterConfigurationError: A host cannot be stopped, or data on it would be lost and ``force`` is False.
            ClusterNotFoundError: There are no hosts.
        """
        self.check_management()
        hosts = self._provider.check_suspension(force=force)
        if not hosts:
            raise ClusterNotFoundError(f"there are no hosts of cluster {self.name}")
        return hosts

    def suspend(self, *, force: bool = False) -> None:
        """Stop all hosts, and keep their disks; a launch starts them again.

        Args:
            force: Suspend although a job runs, which ends it, or data outside of the hosts' volumes is lost.

        Raises:
            ClusterBusyError: A job runs, or another process has reserved the cluster; nothing was changed.
        """
        with self.reserve("suspend"):
            heads = self._find_head()
            if heads and not force:
                self.attach(heads)  # raises if it does not answer
                hint = "wait for it, or end it with flambe-ans suspend CLUSTER --force"
                shrinking.check_jobs(self.name, self._fleets.list_active(self.fleet), hint=hint)
            self.check_suspension(force=force)
            self._provider.suspend(observer=self.observer)

    def keep_factories(self, number: int) -> None:
        """Let the next launch of this object create or keep this many factories, whatever the configuration says."""
        self.factories_num = number
        self.min_factories = None if self.min_factories is None else min(self.min_factories, number)

    def remove_hosts(
        self, names: Iterable[str], *, force: bool = False, timeout: float = shrinking.TIMEOUT
    ) -> LaunchResult:
        """Drain Ray on factories, terminate them, and update the other hosts with a launch.

        Args:
            names: The factories' names.
            force: Go on although tasks run on them after ``timeout``, or although a job of another runtime runs.
            timeout: Seconds until everything on them must have ended.

        Raises:
            ClusterConfigurationError: The hosts are not managed by this project, or no factory would be left.
            ClusterBusyError: A job runs on them; nothing was removed.
        """
        self.check_management()
        wanted = set(names)
        hosts = [host for host in self.find_hosts() if host.state in LIVE_STATES]
        doomed = [host for host in hosts if host.name in wanted]
        shrinking.check_removal(self.name, hosts, doomed)
        self.keep_factories(sum(host.role is Role.FACTORY for host in hosts) - len(doomed))
        with self.reserve("remove"):
            shrinking.end_work(doomed, self._find_head(), self._fleets, force=force, seconds=timeout)
            self._provider.remove(doomed)
            self._access.forget(doomed)
            return self._launch(LaunchOptions(force=force), check=lambda: None)

    def expected_host_keys(self, host: Host) -> list[str] | None:
        """Return the SSH host keys (``type base64``) that the provider vouches for; None if it has none."""
        return self._provider.host_keys(host)

    def identity(self) -> tuple[str, ...]:
        """Return what distinguishes this cluster from others of the same name."""
        return self._provider.identity()

    def forget_hosts(self) -> None:
        """Unload all hosts and remove their record; a custom class calls it after it terminated them."""
        self.hosts = []
        records.forget_hosts(self.state_dir)

    def connect(self, *, timeout: float | None = None) -> None:
        """Open a connection to every loaded host; its host key is checked first.

        Args:
            timeout: Seconds for all hosts to accept a login; None is ``answer_timeout`` or ``boot_timeout``.

        Raises:
            HostKeyError: A host's key differs from the trusted one.
            HostConnectionError: A host did not accept a login in time.
            UnsupportedHostError: A host lacks something that every host must have.
        """
        errors = self.connect_each(timeout=timeout)
        if errors:
            raise join([one.error for one in errors])

    def connect_each(self, *, timeout: float | None = None) -> list[FailedHost]:
        """Connect as ``connect``, load the hosts that answer and meet the requirements, and return the others.

        Raises:
            HostError: The orchestrator failed, or all factories.
        """
        if self.orchestrator is None or len(self.hosts) < 2:
            missing = "orchestrator" if self.orchestrator is None else "factory"
            raise ClusterError(f"{type(self).__name__}.load_all_instances() loaded no {missing}")
        self.hosts = self.hosts  # a custom class may have appended a host twice
        hosts, fleet = self.hosts, self.fleet
        errors = connect_each(
            fleet,
            self._fleets,
            patience=self._limits.for_launch if timeout is None else limited_to(timeout),
            verifies=self._reservation is not None and self._reservation.held,
            covers=self._early.covers if self._early else None,
        )
        records.write_gpus(self.state_dir, hosts, fleet.gpus)
        errors |= self._refuse_newer(hosts, fleet.gpus)
        if self._provider.records_hosts:
            records.write_hosts(self.state_dir, hosts)
        return self._unload(errors)

    def attach_early(self, started: Connections | None = None, *, head_only: bool = False) -> None:
        """Start to connect to the hosts that answered last; only those that still exist are used.

        ``started`` are connections that were started before, as ``fleet.early.connect`` does. With ``head_only``, only
        to the orchestrator.
        """
        self._access.open_early(started, head_only=head_only)

    def record_access(self, file: str) -> None:
        """Record how the hosts of a cluster's file are reached, for the next command (``fleet.early.connect``)."""
        self._access.record(file)

    def attach(self, hosts: Sequence[Host] | None = None, *, timeout: float | None = None) -> None:
        """Load and connect to the running hosts, or to the given ones; change nothing.

        Args:
            hosts: The hosts; None is all that run.
            timeout: Seconds for a host to answer; None is ``answer_timeout``.

        Raises:
            ClusterNotFoundError: No host is running.
            HostConnectionError: A host did not answer in time.
        """
        self.hosts = self.find_running() if hosts is None else hosts
        patience = self._limits.for_query if timeout is None else limited_to(timeout)
        self._access.open(self.hosts, patience=patience, observer=self.observer)

    def attach_orchestrator(self) -> None:
        """Load and connect to the orchestrator alone; change nothing.

        Raises:
            ClusterNotFoundError: It is not running.
            HostConnectionError: It does not answer.
        """
        running = find_heads(self.find_running())
        if not running:
            raise ClusterNotFoundError(f"the orchestrator of cluster {self.name} is not running")
        self.attach(running)

    def attach_each(self, hosts: Sequence[Host]) -> dict[str, HostError]:
        """Connect to running hosts, and load those that answer; return the errors of the others by name.

        Raises:
            HostError: No host answered.
        """
        errors = self._access.open_each(hosts, patience=self._limits.for_query, observer=self.observer)
        if hosts and len(errors) == len(hosts):
            raise join(list(errors.values()))
        self.hosts = [host for host in hosts if host.name not in errors]
        return errors

    @contextmanager
    def reserve(self, what: str) -> Iterator[Reservation]:
        """Reserve the cluster for a block; meanwhile, every other process that reserves it is refused.

        It is reserved at once if its orchestrator answers, else by a launch in the block. A block in another one shares
        the reservation.

        Args:
            what: The command, for the message to others.

        Raises:
            ClusterBusyError: Another process has reserved it, also after ``wait_limit``; nothing was changed.
        """
        if self._reservation is not None:
            yield self._reservation
            return
        early = self._prepared.take() if self._prepared and what == "launch" else None
        reservation = early or Reservation(what, cluster=self.name)
        reservation.waiting = self._waiting
        if not reservation.held:  # a launch on this machine may have no orchestrator
            self._waiting.repeat(lambda: lock.check(self.state_dir))
        with reservation as self._reservation:
            try:
                self._reserve_running(self._reservation)
                yield self._reservation
            finally:
                self._reservation = self._prepared = None

    def find_running(self) -> list[Host]:
        """Return the running hosts.

        Raises:
            ClusterNotFoundError: No host is running.
        """
        hosts = [host for host in self.find_hosts() if host.state is HostState.RUNNING]
        if not hosts:
            raise ClusterNotFoundError(f"no host of cluster {self.name} is running", hint="flambe-ans launch CLUSTER")
        return hosts

    def status(self) -> ClusterStatus:
        """Return the state of the cluster: its hosts, Ray's nodes, the last job; all hosts are asked at once."""
        query = StatusQuery(
            fleets=self._fleets,
            with_idle=self._idle.enabled,
            needed=min(self.min_factories or self.factories_num, self.factories_num),
            gpu_variables=self._gpu_variables,
            locate=self.location,
            measure_costs=self._measure_costs,
            find_interrupted=self._provider.find_interrupted,
        )
        return query.ask(self.find_hosts)

    def compare_clients(self) -> tuple[str, ...]:
        """Describe why ``ray.init("ray://...")`` from this machine would fail; the orchestrator is loaded."""
        ray = self._runtime.ray
        return status.compare_clients(self._runtime, ray.ask(self.fleet.connections, self.fleet.head) if ray else None)

    def keep(self, seconds: float) -> dict[str, IdleState]:
        """Postpone the automatic shutdown: no host powers itself off within the next seconds; 0 ends a postponement.

        Returns:
            The state of each host, by name.

        Raises:
            ClusterConfigurationError: The cluster has no automatic shutdown.
            ClusterNotFoundError: No host is running.
            HostError: It failed on a host; it is done on the others.
        """
        if not self._idle.ends_idle_hosts:
            message = f"cluster {self.name} has no automatic shutdown: its timeouts are -1; nothing was changed"
            raise ClusterConfigurationError(message)
        errors = self.attach_each(self.find_running())
        states = idle.keep(self.connections, self.hosts, seconds)
        if errors:
            raise join(list(errors.values()))
        return states

    def inventory(self) -> dict[str, Any]:
        """Return the Ansible inventory of the running hosts; it does not depend on this object's connections.

        Raises:
            ClusterNotFoundError: No host is running.
        """
        hosts = self.find_running()
        return launch.static_inventory(
            hosts,
            self.connections,
            proxy_jump=self.proxy_jump,
            variables=self._role_variables(),
            found=records.read_gpus(self.state_dir, hosts),
        )

    def ssh_config(self) -> str:
        """Return the running hosts as entries of ``ssh_config(5)``, which do not depend on this object's connections.

        Raises:
            ClusterNotFoundError: No host is running.
            HostKeyError: A host's key differs from the trusted one.
        """
        hosts = self.find_running()
        self._access.trust_known(hosts, observer=self.observer)
        return self.connections.config_entries(hosts)

    def resolve_runtime(self) -> RuntimeVersion:
        """Determine what the hosts get installed; build a checkout unless its content was built before.

        Raises:
            SourceError: The checkout cannot be built.
        """
        self._version = self._runtime.resolve(observer=self.observer)
        return self._version

    def get_run(self) -> JobState:
        """Return the state of the last job."""
        return self.file_jobs.get()

    def attach_job(self) -> JobState:
        """Attach to the orchestrator and return its last job.

        Raises:
            ClusterNotFoundError: The orchestrator is not running.
            HostConnectionError: It does not answer.
            RunError: No job was started yet.
        """
        require_jobs(self._runtime, self.name)
        self.attach_orchestrator()
        found = self.file_jobs.get()
        if found.state == state.NONE:
            hint = "flambe-ans submit FILE --cluster CLUSTER starts one"
            raise RunError(f"no job was started on cluster {self.name} yet", hint=hint)
        return found

    def check_command_jobs(self) -> None:
        """Check that the runtime runs commands.

        Raises:
            ClusterConfigurationError: It does not.
        """
        require_commands(self._runtime, self.name)

    def check_file_jobs(self, *, experiment: bool) -> None:
        """Check that the runtime runs experiments of flambé, or custom runnables.

        Raises:
            ClusterConfigurationError: It does not.
        """
        require_jobs(self._runtime, self.name, experiment=experiment)

    def check_free(self, runnable: Submittable, *, force: bool = False) -> bool:
        """Check that a job may start; attach to the orchestrator if it answers, and change nothing.

        Returns:
            Whether a job must be stopped or waited for first.

        Raises:
            ClusterConfigurationError: The runtime cannot run it.
            ClusterBusyError: A job runs, and ``force`` is False.
            ExistingResultsError: There are results that would be replaced, and ``force`` is False.
            HostKeyError: The orchestrator's key differs from the trusted one.
        """
        from flambe_ansible.jobs import submission

        self.check_file_jobs(experiment=runnable.file.is_experiment)
        try:
            self.attach_orchestrator()
            job = self.file_jobs.get()
        except HostKeyError:
            raise
        except (ClusterNotFoundError, HostConnectionError):
            return False  # the launch creates, starts or waits for it; it is asked again then
        return submission.check_free(self.name, job, self.file_jobs, runnable, force=force)

    def submit(self, runnable: Submittable, *, force: bool = False, **kwargs: Any) -> Submission:
        """Launch the cluster, send all that a runnable needs, and start it on the hosts that are ready.

        Args:
            runnable: What ``jobs.submission.make_runnable`` returned.
            force: Stop a running job, and overwrite results of the same name.
            kwargs: The fields of ``LaunchOptions``.

        Raises:
            ClusterBusyError: A job runs; nothing was changed.
            ExistingResultsError: There are results of this name; nothing was changed.
            FlambeAnsibleError: A step failed.
        """
        from flambe_ansible.jobs import submission

        options = LaunchOptions(**kwargs)
        options.check()
        self.check_free(runnable, force=force)
        stopped: list[JobState] = []

        def make_free() -> None:  # asked again, since a job may have started before the cluster was reserved
            if submission.check_free(self.name, self.file_jobs.get(), self.file_jobs, runnable, force=force):
                stopped.append(self.shutdown_flambe_execution(replaced=True))

        extensions = submission.fetch(runnable, observer=self.observer)
        self.resolve_runtime()  # a checkout that cannot be built must not stop a job
        with self.reserve("submit") as reservation:
            if reservation.held:
                self.attach(self._find_head())
                make_free()
            launched = self._launch(options, check=make_free)
            job = submission.start(
                self.file_jobs,
                runnable,
                extensions,
                cluster=self,
                force=force,
                expose=self.expose_sites,
                with_secrets=secrets.find(options.secrets_file) is not None,
                reservation=reservation,
                restart_ray=launched.has_lost_nodes,
            )
        return Submission(run=job, launch=launched, replaced=bool(stopped))

    def close(self) -> None:
        """Close the connections to the hosts."""
        self.abandon_launch()
        if self._open_access is not None:
            self._open_access.close()
            self._open_access = None

    # The parts.

    @property
    def hosts(self) -> list[Host]:
        """The loaded hosts; the orchestrator is first, then the factories by index."""
        loaded = [*([self.orchestrator] if self.orchestrator else []), *self.factories]
        return sort_hosts({instance.name: instance.data for instance in loaded}.values())

    @hosts.setter
    def hosts(self, hosts: Sequence[Host]) -> None:
        heads = [self._fleets.make_orchestrator(host) for host in hosts if host.role is Role.ORCHESTRATOR]
        self.orchestrator = heads[0] if heads else None
        self.factories = [self._fleets.make_factory(host) for host in sort_hosts(hosts) if host.role is Role.FACTORY]

    @property
    def fleet(self) -> Fleet:
        """The loaded hosts.

        Raises:
            ClusterError: The orchestrator is not loaded.
        """
        if self.orchestrator is None:
            raise ClusterError("the orchestrator is not loaded", hint="call run() or load_all_instances() first")
        return self._fleets.join(self.orchestrator, self.factories)

    @property
    def file_jobs(self) -> FileJobs:
        """The jobs that a file describes (experiments and runnables), one at a time.

        Raises:
            ClusterConfigurationError: The runtime cannot run them.
        """
        return self._make_jobs(self.fleet)

    @property
    def jobs(self) -> ClusterJobs:
        """The jobs that are commands, several at once; connects to the orchestrator if it is not loaded.

        Raises:
            ClusterConfigurationError: The runtime cannot run commands.
            ClusterNotFoundError: The orchestrator is not running.
            HostConnectionError: It does not answer.
        """
        runner = require_commands(self._runtime, self.name)
        if self.orchestrator is None:
            self.attach_orchestrator()
        return ClusterJobs(self.fleet, runner)

    @property
    def runs_commands(self) -> bool:
        """Whether jobs are commands, not files."""
        return self._runtime.commands is not None

    @property
    def connections(self) -> Connections:
        """The connections to the hosts, kept until ``close``."""
        return self._access.connections

    @property
    def known_hosts(self) -> Path:
        """The cluster's own known_hosts."""
        return self.state_dir / "known_hosts"

    @property
    def state_dir(self) -> Path:
        """The cluster's local folder, with known_hosts, journal and logs."""
        return cluster_state(self.name, *self.identity())

    @cached_property
    def _runtime(self) -> Runtime:
        nodes = NodeOptions(
            orchestrator_resources=self.orchestrator_resources or {},
            factories_resources=self.factories_resources or {},
            factories_labels=self.factories_labels or {},
        )
        return make_runtime(
            self.runtime, flambe_version=self.flambe_version, flambe_source=self.flambe_source, nodes=nodes
        )

    @cached_property
    def _provider(self) -> Provider:
        return RecordedProvider(
            label=type(self).__name__,
            cluster=self.name,
            factories_num=lambda: self.factories_num,
            find=self.find_hosts,
            state_dir=lambda: self.state_dir,
            identity=(self.provider or f"{type(self).__module__}.{type(self).__qualname__}",),
        )

    @property
    def _access(self) -> Access:
        if self._open_access is None:
            self._open_access = self._make_access(self.known_hosts)
        return self._open_access

    def _make_access(self, known_hosts: Path) -> Access:
        policy = self._provider.access
        connections = Connections(
            username=self.username,
            key=Path(self.key),
            known_hosts=known_hosts,
            proxy_jump=self.proxy_jump,
            strict_host_keys=self.strict_host_keys,
            login_patience=policy.login_patience,
            answer=self._limits.answer,
            observer=lambda event: self.observer(event),
        )
        return Access(
            connections,
            policy,
            find_keys=self.expected_host_keys,
            find_late_keys=self._provider.late_host_keys,
            jump_keys=self._provider.jump_keys,
        )

    @property
    def _ray(self) -> RayService:
        """How Ray is asked and stopped.

        Raises:
            ClusterConfigurationError: The runtime has no Ray.
        """
        if self._runtime.ray is None:
            raise ClusterConfigurationError(f"cluster {self.name} has runtime {self._runtime.name}, which has no Ray")
        return self._runtime.ray

    def _launch(self, options: LaunchOptions, *, check: Callable[[], None]) -> LaunchResult:
        """Launch; ``check`` is called once all hosts are connected, before anything on them changes."""
        started = time.monotonic()
        self.options = options
        self.parse()
        options.check(logins=self.docker)
        options.check_rotation(self._runtime, cluster=self.name)
        version = self.resolve_runtime()
        with self.reserve("launch") as reservation, ExitStack() as stack:
            answered = reservation.head
            # Its holder may wait for the reservation: a launch that has that one does not wait.
            waiting = Waiting() if answered else self._waiting
            waiting.repeat(lambda: stack.enter_context(lock.hold(self.state_dir)))
            settled = not self._replaced and is_complete(reservation.hosts, factories=self.factories_num)
            if answered and settled:
                prepared = self._prepared and self._prepared.verification
                self._early = prepared or verify_early(reservation.hosts, self._fleets)
            if answered:
                self._protect_jobs(answered, self.find_running)  # before hosts are created
            self.load_all_instances()
            unreached = self.connect_each()
            self._early = None  # what follows changes the hosts
            reservation.take(self.connections, self.fleet.head)
            check()
            if not answered:
                self._protect_jobs(self.fleet.head, lambda: self.hosts)
            result = converging.converge(
                self._player,
                self._runtime,
                version,
                created=self.created,
                started=started,
                unreached=unreached,
                play_all=options.plays_all,
            )
            self.hosts = result.hosts
            reservation.check()
        if host_entries.is_installed(self.state_dir):
            host_entries.install(self.state_dir, self.connections.config_entries(self.hosts))
        self._launched, self._replaced = True, []
        return result

    @property
    def _waiting(self) -> Waiting:
        return Waiting(limit=self.wait_limit, observer=self.observer)

    def _find_head(self) -> list[Host]:
        """Return the orchestrator if it is running, else nothing."""
        return find_heads(self.find_hosts())

    def _reserve_running(self, reservation: Reservation) -> None:
        """Take a reservation on the running orchestrator, if there is one and it answers."""
        hosts = self.check_termination() if reservation.what == "down" else self.find_hosts()
        observer = events.only_notices(self.observer)
        reserve_running(reservation, hosts, self._access, patience=self._limits.for_query, observer=observer)

    def _protect_jobs(self, head: Host, find: Callable[[], Sequence[Host]]) -> None:
        """Refuse a launch that would end a job on the hosts found; the orchestrator is reserved, so it answers."""

        def find_resolved() -> Sequence[Host]:
            self._resolve_names()
            return find()

        if not self.options.force:
            protecting.protect_jobs(head, find_resolved, self._fleets, play_all=self.options.plays_all)

    def _resolve_names(self) -> None:
        """Resolve the names of hosts, if the orchestrator answers."""

    def _unload(self, errors: Mapping[str, HostError]) -> list[FailedHost]:
        """Unload the factories that failed, and return them; see ``converging.keep_ready``."""
        failed = [FailedHost(host=host, error=errors[host.name]) for host in self.hosts if host.name in errors]
        self.hosts = converging.keep_ready(self.hosts, failed)
        return failed

    @property
    def _limits(self) -> Limits:
        return Limits(answer_timeout=self.answer_timeout, boot_timeout=self.boot_timeout)

    @property
    def _player(self) -> Player:
        return self._fleets.make_player(self.fleet)

    def _ask_ray(self) -> RayNodes:
        return self._ray.ask(self.connections, self.fleet.head)

    def _host_work(self) -> HostWork:
        return HostWork(
            runtime=self._runtime,
            version=lambda: (self._version or self.resolve_runtime()).version,
            player=lambda: self._player,
            jobs=lambda: self.file_jobs,
            stop_job=self.shutdown_flambe_execution,
            expose=self.expose_sites,
        )

    @property
    def _fleets(self) -> Fleets:
        return Fleets(
            cluster=self.name,
            runtime=self._runtime,
            access=lambda: self._access,
            limits=self._limits,
            username=self.username,
            work=self._host_work,
            gpu_factories=self._gpu_factories,
            variables=self._role_variables,
            make_jobs=self._make_jobs,
            state_dir=lambda: self.state_dir,
            observer=self.observer,
        )

    def _make_jobs(self, fleet: Fleet) -> FileJobs:
        require_jobs(self._runtime, self.name)
        return make_file_jobs(self._fleets.make_player(fleet), self._runtime, secrets_file=self.options.secrets_file)

    def _role_variables(self) -> dict[str, Any]:
        return launch.role_variables(
            self.name,
            self._runtime,
            self._version or self.resolve_runtime(),
            self.options,
            setup_cmds=self.setup_cmds,
            nvidia_driver=self.nvidia_driver,
            setup_timeout=self.setup_timeout,
            install_timeout=self.install_timeout,
            limits=self._limits,
            expose_sites=self.expose_sites,
            idle=replace(self._idle, ends_at=self._find_end()),
            docker=self.docker,
            hosts=self.factories_num + 1,
        )

    @property
    def _idle(self) -> IdleOptions:
        return IdleOptions(
            hours={Role.ORCHESTRATOR: int(self.orchestrator_timeout), Role.FACTORY: int(self.factories_timeout)},
            cpu_percent=self.idle_cpu_percent,
            gpu_percent=self.idle_gpu_percent,
            command=self.idle_command or "",
            alarm_percent=self._alarm_percent,
            has_budget=self._has_budget,
        )

    @property
    def _gpu_variables(self) -> dict[str, Any]:
        """The role variables that decide how many GPUs Ray has."""
        return {
            gpus.DRIVER: self.nvidia_driver,
            "cluster_orchestrator_resources": self.orchestrator_resources,
            "cluster_factories_resources": self.factories_resources,
        }

    @property
    def _cuda_limit(self) -> float | None:
        """The highest CUDA compute capability of the factories' GPUs; None is no limit."""
        return None if self.nvidia_driver == gpus.IGNORE else self._runtime.cuda_capability

    def _refuse_newer(self, hosts: Sequence[Host], found: Mapping[str, HostGpus]) -> dict[str, UnsupportedHostError]:
        """Return an error for each factory whose GPUs the runtime cannot use, by name."""
        return gpus.refuse_newer(hosts, found, limit=self._cuda_limit, runtime=self._runtime.name)

    @property
    def _alarm_percent(self) -> float:
        """The threshold of the hosts' idle alarms, in percent of all CPUs; 0 if they have none."""
        return 0.0

    @property
    def _has_budget(self) -> bool:
        return False

    def _find_end(self) -> str:
        """Return when the budget ends, ISO 8601 (UTC); "" for never."""
        return ""

    def _measure_costs(self) -> Costs | None:
        """Return what the existing hosts cost; None if they have no prices."""
        return None


__all__ = ["Cluster", "LaunchOptions", "LaunchResult", "Submission"]
