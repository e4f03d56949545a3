"""The base of all clusters: everything about a cluster that does not depend on who provides its hosts.

It follows flambé's ``flambe.cluster.cluster.Cluster``: the same names, arguments and meaning. Where flambé ran
shell strings on each host, this class runs the playbook (what a host must *be*) or one SSH call (what one asks it).
"""

from __future__ import annotations

import logging
import shlex
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, Self

from flambe_ansible import events, inventory, secrets, versions
from flambe_ansible.cluster import lock, ray
from flambe_ansible.cluster.instance import Instance
from flambe_ansible.cluster.plan import Plan
from flambe_ansible.cluster.status import ClusterState, ClusterStatus, judge
from flambe_ansible.errors import ClusterError, ClusterNotFoundError, FlambeAnsibleError, RemoteCommandError
from flambe_ansible.hosts import Host, HostState, Role, factory_name, orchestrator_name
from flambe_ansible.paths import cluster_state
from flambe_ansible.playbooks import HostResult, run_playbook
from flambe_ansible.ssh import Connections

logger = logging.getLogger(__name__)

ACCESS_TIMEOUT = 300.0  # seconds for all hosts to take a login
STATUS_TIMEOUT = 10.0  # seconds for a host to answer when one only asks
KEY_FILE = "ray_bootstrap_key.pem"  # in the home folder, flambé's own name


@dataclass(frozen=True, kw_only=True)
class LaunchResult:
    """What a launch did.

    Attributes:
        hosts: The orchestrator, then the factories.
        created: Names of the hosts that this launch created.
        playbook: What the playbook did, by host name.
        ray: What Ray said at the end.
        seconds: How long it took.
        log: The playbook's full log.
    """

    hosts: tuple[Host, ...]
    created: tuple[str, ...]
    playbook: Mapping[str, HostResult]
    ray: ray.RayNodes
    seconds: float
    log: Path


@dataclass(kw_only=True)
class RunOptions:
    """What one launch may be told.

    Attributes:
        rerun_setup: Run the setup commands even where nothing calls for it.
        secrets_file: The user's secrets; None is ``~/.flambe/secrets.ini``, if it is there.
        secrets_sections: Only these sections are sent; None sends all.
    """

    rerun_setup: bool = False
    secrets_file: Path | None = None
    secrets_sections: Sequence[str] | None = None


@dataclass
class _Live:
    """What an object holds of a cluster that it talks to."""

    hosts: list[Host] = field(default_factory=list)
    connections: Connections | None = None
    created: list[str] = field(default_factory=list)


class Cluster(ABC):
    """A cluster of one orchestrator and N factories.

    A context manager: it closes its connections at the end; an error inside is logged, what this object created is
    rolled back, and the error is raised again (flambé ends the process instead).

    Args:
        name: The cluster's name; its hosts are named after it.
        factories_num: How many factories it has.
        key: Path of the user's private SSH key; the same for all hosts.
        username: The user to log in as; the same on all hosts.
        setup_cmds: Commands for bash, run in order on every host. They must be idempotent and expect no input.
        flambe_version: The flambe that the hosts get; None is the one installed here.
        use_public: Whether this machine connects to public addresses; otherwise to private ones.
        strict_host_keys: Refuse a host whose key no trusted source told, instead of keeping the first key seen.
        setup_timeout: Seconds that one setup command may take.
    """

    provider: ClassVar[str] = ""

    def __init__(
        self,
        name: str,
        factories_num: int,
        key: str,
        username: str,
        setup_cmds: list[str] | None = None,
        *,
        flambe_version: str | None = None,
        use_public: bool = True,
        strict_host_keys: bool = False,
        setup_timeout: float = 3600.0,
    ) -> None:
        self.name = name
        self.factories_num = factories_num
        self.key = str(Path(key).expanduser().absolute()) if key else ""
        self.username = username
        self.setup_cmds = setup_cmds
        self.flambe_version = flambe_version
        self.use_public = use_public
        self.strict_host_keys = strict_host_keys
        self.setup_timeout = setup_timeout
        self.options = RunOptions()
        self.observer: events.Observer = events.ignore
        self.orchestrator: Instance | None = None
        self.factories: list[Instance] = []
        self._live = _Live()

    # What a provider gives.

    @abstractmethod
    def load_all_instances(self) -> None:
        """Make all hosts exist, and set ``hosts`` (or ``orchestrator`` and ``factories``)."""

    @abstractmethod
    def find_hosts(self) -> list[Host]:
        """Find what exists of the cluster now, without changing anything; the orchestrator first."""

    @abstractmethod
    def plan(self) -> Plan:
        """Say what ``run`` would do, without changing anything."""

    def rollback_env(self) -> None:
        """Remove what this object created; where nothing is created, do nothing."""

    def terminate_instances(self) -> list[Host]:
        """End every host of the cluster, and return them; where hosts are not ours to end, refuse."""
        raise ClusterError(f"hosts of a {type(self).__name__} are not this tool's to terminate")

    def parse(self) -> None:
        """Check what no single field can tell.

        Raises:
            ClusterConfigurationError: The configuration cannot work.
        """

    def expected_host_keys(self, host: Host) -> list[str] | None:
        """Return the SSH host keys (``type base64``) that the provider vouches for; None: it cannot know."""
        del host
        return None

    def identity(self) -> tuple[str, ...]:
        """Return what tells this cluster from others of the same name."""
        return (self.provider,)

    # Names and places.

    def get_orchestrator_name(self) -> str:
        """Return ``<name>_orchestrator``."""
        return orchestrator_name(self.name)

    def get_factory_basename(self) -> str:
        """Return ``<name>_factory``."""
        return factory_name(self.name)

    @property
    def state_dir(self) -> Path:
        """The local folder of this cluster: known_hosts, journal, logs."""
        return cluster_state(self.name, *self.identity())

    @property
    def hosts(self) -> list[Host]:
        """The hosts that were loaded: the orchestrator first, then the factories by index."""
        return list(self._live.hosts)

    @hosts.setter
    def hosts(self, hosts: Sequence[Host]) -> None:
        self._live.hosts = sorted(hosts, key=lambda host: (host.role is Role.FACTORY, host.index))
        instances = [Instance(host, lambda: self.connections) for host in self._live.hosts]
        self.orchestrator = next((one for one in instances if one.data.role is Role.ORCHESTRATOR), None)
        self.factories = [one for one in instances if one.data.role is Role.FACTORY]

    @property
    def created(self) -> list[str]:
        """Names of the hosts that this object created; providers append to it."""
        return self._live.created

    def _get_all_hosts(self) -> list[Instance]:
        """All hosts, factories first, as flambé has them."""
        return [*self.factories, self._get_orchestrator()]

    def _get_orchestrator(self) -> Instance:
        if self.orchestrator is None:
            raise ClusterError("the orchestrator was not loaded", hint="call run() or load_all_instances() first")
        return self.orchestrator

    # Making it so.

    def run(self, force: bool = False, **kwargs: Any) -> LaunchResult:
        """Make the cluster exist and ready: hosts, playbook, Ray. Idempotent.

        Args:
            force: Accepted for flambé's signature; launching never replaces what runs.
            kwargs: The fields of ``RunOptions``.

        Raises:
            FlambeAnsibleError: Of the kind that tells which part failed.
        """
        del force
        started = time.monotonic()
        self.options = RunOptions(**kwargs)
        self.parse()
        secrets.check(self.options.secrets_file, self.options.secrets_sections)
        with lock.hold(self.state_dir):
            self.load_all_instances()
            self.connect()
            log = self._log_path()
            played = self._play(log=log)
            nodes = self._check_ray()
        return LaunchResult(
            hosts=tuple(self.hosts),
            created=tuple(self.created),
            playbook=played,
            ray=nodes,
            seconds=time.monotonic() - started,
            log=log,
        )

    def _check_ray(self) -> ray.RayNodes:
        started = time.monotonic()
        nodes = ray.check(self.connections, self.hosts)
        for host in self.hosts:
            seconds = time.monotonic() - started
            self.observer(events.StepEvent(host=host.name, step="ray", status=events.Status.OK, seconds=seconds))
        return nodes

    def _play(self, *, tags: Sequence[str] = (), log: Path | None = None) -> dict[str, HostResult]:
        """Run the playbook, or the roles with these tags, on all hosts."""
        connection = {host.name: self.connections.ansible_variables(host) for host in self.hosts}
        return run_playbook(
            "site.yml",
            inventory=inventory.build(self.hosts, connection=connection, variables=self.role_variables()),
            tags=tags,
            observer=self.observer,
            log=log or self._log_path(),
        )

    def role_variables(self) -> dict[str, Any]:
        """Return the variables that the roles get from this cluster; the roles' defaults hold for the rest."""
        source = secrets.find(self.options.secrets_file)
        return {
            "cluster_name": self.name,
            "setup_cmds_commands": list(self.setup_cmds or []),
            "setup_cmds_timeout": self.setup_timeout,
            "setup_cmds_rerun": self.options.rerun_setup,
            "flambe_version": versions.resolve(self.flambe_version).version,
            "flambe_uv_src": versions.find_uv(),
            "secrets_src": str(source) if source else "",
            "secrets_sections": list(self.options.secrets_sections or []),
        }

    def inventory(self) -> dict[str, Any]:
        """Return the Ansible inventory of what exists now; its connection outlives this object.

        Raises:
            ClusterNotFoundError: Nothing exists.
        """
        hosts = self._find_running()
        static = Connections.static_variables
        connection = {
            host.name: static(host, username=self.username, key=Path(self.key), known_hosts=self._known_hosts())
            for host in hosts
        }
        return inventory.build(hosts, connection=connection, variables=self.role_variables())

    # Asking.

    def connect(self, *, timeout: float = ACCESS_TIMEOUT) -> None:
        """Open a connection to every loaded host, its key checked from the first byte.

        Args:
            timeout: Seconds for all hosts to take a login.

        Raises:
            HostKeyError: A host's key is not the one the provider vouches for.
            HostConnectionError: A host did not answer in time.
            UnsupportedHostError: A host lacks what every host must have.
        """
        self._trust(self.hosts)
        self.connections.wait(self.hosts, timeout=timeout, observer=self.observer)
        self.connections.probe(self.hosts)

    @property
    def connections(self) -> Connections:
        """The multiplexed connections to the hosts, kept until ``close``."""
        if self._live.connections is None:
            self._live.connections = Connections(
                username=self.username,
                key=Path(self.key),
                known_hosts=self._known_hosts(),
                strict_host_keys=self.strict_host_keys,
            )
        return self._live.connections

    def attach(self, hosts: Sequence[Host] | None = None, *, timeout: float = STATUS_TIMEOUT) -> None:
        """Load the hosts that run now, or these alone, and connect to them, changing nothing.

        Raises:
            ClusterNotFoundError: Nothing runs.
            HostConnectionError: A host did not answer within ``timeout`` seconds.
        """
        self.hosts = self._find_running() if hosts is None else hosts
        self._trust(self.hosts)
        self.connections.wait(self.hosts, timeout=timeout, observer=self.observer)

    def status(self) -> ClusterStatus:
        """Say what the cluster is now: the provider's answer, then Ray's own."""
        hosts = self.find_hosts()
        running = [host for host in hosts if host.state is HostState.RUNNING]
        launching = lock.is_held(self.state_dir)
        head = next((host for host in running if host.role is Role.ORCHESTRATOR), None)
        nodes, prepared, unreachable = None, False, ""
        if head:
            try:
                self._trust([head])
                self.connections.wait([head], timeout=STATUS_TIMEOUT, observer=events.ignore)
                prepared = self.connections.run(head, f"test -x {inventory.RAY_NODES}", check=False).returncode == 0
                nodes = ray.ask(self.connections, head) if prepared else None
            except FlambeAnsibleError as error:
                unreachable = error.message
        state = judge(hosts, factories_num=self.factories_num, launching=launching, prepared=prepared, ray=nodes)
        if unreachable and state is ClusterState.PROVISIONING and not launching:
            state = ClusterState.DEGRADED
        return ClusterStatus(
            name=self.name,
            state=state,
            orchestrator=next((host for host in hosts if host.role is Role.ORCHESTRATOR), None),
            factories=tuple(host for host in hosts if host.role is Role.FACTORY),
            ray=nodes,
            unreachable=unreachable,
        )

    def _find_running(self) -> list[Host]:
        hosts = [host for host in self.find_hosts() if host.state is HostState.RUNNING]
        if not hosts:
            raise ClusterNotFoundError(
                f"no host of cluster {self.name} is running", hint="flambe-ans launch creates the cluster"
            )
        return hosts

    def _known_hosts(self) -> Path:
        return self.state_dir / "known_hosts"

    def _trust(self, hosts: Sequence[Host]) -> None:
        """Take the keys of hosts that are not known yet from the provider."""
        for host in hosts:
            if not self.connections.knows(host):
                keys = self.expected_host_keys(host)
                if keys:
                    self.connections.trust(host, keys)

    def _log_path(self) -> Path:
        folder = self.state_dir / "logs"
        folder.mkdir(mode=0o700, exist_ok=True)
        return folder / time.strftime("playbook-%Y%m%d-%H%M%S.log")

    # The steps of flambé's API, each alone.

    def run_cmds(self, setup_cmds: list[str]) -> None:
        """Run commands in order on all hosts at once.

        Raises:
            RemoteCommandError: One failed on a host.
        """
        for command in setup_cmds:
            self.connections.run_all(self.hosts, f"bash -c {shlex.quote(command)} </dev/null", check=True)

    def create_dirs(self, relative_dirs: list[str]) -> None:
        """Create folders below the home folder of every host; those that exist stay as they are."""
        if relative_dirs:
            self.connections.run_all(self.hosts, "cd && mkdir -p -- " + shlex.join(relative_dirs), check=True)

    def prepare_all_instances(self) -> None:
        """Install the pinned flambe on all hosts.

        Raises:
            PlaybookError: It failed on a host.
        """
        self._play(tags=["flambe"])

    def distribute_keys(self) -> None:
        """Give all hosts the cluster's own key pair; a pair that is there is kept."""
        self._play(tags=["cluster_keys"])

    def cluster_has_key(self) -> bool:
        """Tell whether all hosts hold the same key pair."""
        command = f'ssh-keygen -y -P "" -f ~/{KEY_FILE}'
        answers = self.connections.run_all(self.hosts, command, check=False)
        keys = {tuple(answer.stdout.split()[:2]) for answer in answers.values() if answer.returncode == 0}
        return len(keys) == 1 and all(answer.returncode == 0 for answer in answers.values())

    def send_secrets(self, whitelist: list[str] | None = None) -> str:
        """Send the user's secrets to the orchestrator, as ``~/secrets.ini`` (0600).

        Args:
            whitelist: Send these sections alone.

        Returns:
            The file's path on the orchestrator.

        Raises:
            MissingSecretsError: A wanted section is not there.
        """
        secrets.check(self.options.secrets_file, whitelist)
        self.options.secrets_sections = whitelist
        self._play(tags=["secrets"])
        return f"{self._get_orchestrator().get_home_path()}/secrets.ini"

    def launch_ray_cluster(self) -> None:
        """Start Ray on all hosts: the head on the orchestrator (no CPUs), a node on each factory."""
        self._play(tags=["ray_node"])

    def check_ray_cluster(self) -> bool:
        """Tell whether Ray has a live node on every host."""
        return not ray.ask(self.connections, self._get_orchestrator().data).find_missing(self.hosts)

    def is_ray_cluster_up(self) -> bool:
        """Tell whether the Ray on the orchestrator answers."""
        return not ray.ask(self.connections, self._get_orchestrator().data).error

    def shutdown_ray_cluster(self) -> None:
        """Stop Ray on all hosts."""
        self.connections.run_all(self.hosts, f"sudo -n systemctl stop {inventory.RAY_UNIT}", check=True)

    # The context manager.

    def close(self) -> None:
        """Close the connections to the hosts."""
        if self._live.connections is not None:
            self._live.connections.close()
            self._live.connections = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc_value: BaseException | None, tb: TracebackType | None
    ) -> None:
        try:
            if exc_value is not None:
                logger.error("%s: %s", type(self).__name__, exc_value)
                self.rollback_env()
        finally:
            self.close()


__all__ = ["Cluster", "Instance", "LaunchResult", "RemoteCommandError", "RunOptions"]
