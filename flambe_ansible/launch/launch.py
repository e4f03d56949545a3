"""A launch's options, the role variables that follow from them, and its result."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flambe_ansible import inventory, secrets
from flambe_ansible.errors import ClusterConfigurationError, ClusterError
from flambe_ansible.fleet import containers
from flambe_ansible.fleet.access import Limits
from flambe_ansible.fleet.idle import IdleOptions
from flambe_ansible.gpus import HostGpus, add_variables
from flambe_ansible.hosts import Host
from flambe_ansible.jobs.sites import listen_address
from flambe_ansible.jobs.state import JobState
from flambe_ansible.launch import gpus
from flambe_ansible.playbooks import HostResult, count_rounds
from flambe_ansible.runtimes import Runtime, RuntimeVersion
from flambe_ansible.runtimes.ray_service import RayNodes
from flambe_ansible.ssh import Connections


@dataclass(kw_only=True)
class LaunchOptions:
    """The options of one launch.

    Attributes:
        force: Restart Ray and change its runtime even if that ends a running job.
        full: Play all roles on all hosts, also if nothing differs.
        rerun_setup: Run the setup commands even if nothing changed.
        rotate_token: Replace the token that Ray requires; Ray restarts on all hosts.
        secrets_file: The user's secrets; None is ``~/.flambe/secrets.ini``, if it exists.
        secrets_sections: The sections to send; None is all.
    """

    force: bool = False
    full: bool = False
    rerun_setup: bool = False
    rotate_token: bool = False
    secrets_file: Path | None = None
    secrets_sections: Sequence[str] | None = None

    def check(self, *, logins: bool = False) -> None:
        """Check that the secrets can be sent, and that they can be used as ``logins`` to container registries."""
        secrets.check(self.secrets_file, self.secrets_sections)
        if logins:
            secrets.check_logins(self.secrets_file, self.secrets_sections)

    def check_rotation(self, runtime: Runtime, *, cluster: str) -> None:
        """Refuse to rotate a token that the runtime does not have."""
        if self.rotate_token and not (runtime.ray and runtime.ray.token_file):
            message = f"cluster {cluster} has runtime {runtime.name}, whose Ray has no token to rotate"
            raise ClusterConfigurationError(message)

    @property
    def plays_all(self) -> bool:
        """Whether roles are played although nothing on the hosts differs."""
        return self.full or self.rerun_setup or self.rotate_token


@dataclass(frozen=True, kw_only=True)
class FailedHost:
    """A factory that is not ready after a launch, and why; several hosts may share an error."""

    host: Host
    error: ClusterError


@dataclass(frozen=True, kw_only=True)
class LaunchResult:
    """What a launch did.

    Attributes:
        hosts: The hosts that are ready: the orchestrator, then the factories.
        failed: The factories that are not ready; the launch went on without them.
        created: Names of the hosts that it created, failed ones included.
        runtime: The runtime's name.
        version: What the hosts have installed.
        playbook: What the playbook did, by host name.
        ray: Ray's nodes at the end; None if the runtime has no Ray.
        seconds: Its duration.
        log: The playbook's full log; None if no playbook was played, because no host differed from its receipt.
    """

    hosts: tuple[Host, ...]
    failed: tuple[FailedHost, ...] = ()
    created: tuple[str, ...]
    runtime: str = "flambe"
    version: RuntimeVersion
    playbook: Mapping[str, HostResult]
    ray: RayNodes | None
    seconds: float
    log: Path | None

    @property
    def has_lost_nodes(self) -> bool:
        """Whether Ray has a node on a factory that is not ready."""
        return any(self.ray and one.host.private_ip in self.ray.addresses for one in self.failed)


@dataclass(frozen=True, kw_only=True)
class Submission:
    """What a submission did.

    Attributes:
        run: The job, just started.
        launch: What the launch before it did.
        replaced: Whether a running job was stopped for it.
    """

    run: JobState
    launch: LaunchResult
    replaced: bool


def role_variables(
    cluster: str,
    runtime: Runtime,
    version: RuntimeVersion,
    options: LaunchOptions,
    *,
    setup_cmds: Sequence[str] | None,
    nvidia_driver: str,
    setup_timeout: float,
    install_timeout: float,
    limits: Limits,
    expose_sites: bool,
    idle: IdleOptions,
    docker: bool,
    hosts: int,
) -> dict[str, Any]:
    """Return the role variables of a cluster; the roles' defaults apply to the rest."""
    source = secrets.find(options.secrets_file)
    return {
        "cluster_name": cluster,
        "cluster_runtime": runtime.name,
        **idle.variables(),
        "setup_cmds_commands": list(setup_cmds or []),
        "setup_cmds_timeout": setup_timeout,
        "setup_cmds_rerun": options.rerun_setup,
        gpus.DRIVER: nvidia_driver,
        **_limit_ray(runtime, limits, hosts),
        **runtime.variables(version),
        "tensorboard_host": listen_address(expose=expose_sites),
        **({"ray_node_rotate_token": True} if options.rotate_token else {}),
        **dict.fromkeys(_list_install_limits(runtime), install_timeout),
        "cluster_secrets_src": str(source) if source else "",
        "cluster_secrets_sections": list(options.secrets_sections or []),
        **containers.role_variables(
            source,
            options.secrets_sections,
            enabled=docker,
            nvidia=nvidia_driver != gpus.IGNORE,
            timeout=install_timeout,
        ),
    }


def _limit_ray(runtime: Runtime, limits: Limits, hosts: int) -> dict[str, float]:
    """Return the variable that limits the start of Ray; the head waits for all hosts, which start in rounds."""
    if not runtime.ray:
        return {}
    one = max(runtime.ray.start_timeout, 1.5 * limits.answer_timeout)
    return {"ray_node_timeout": one * count_rounds(hosts)}


def _list_install_limits(runtime: Runtime) -> list[str]:
    """List the role variables that limit the commands of installations."""
    if not runtime.install_tags:
        return []
    return [
        *(f"{role}_timeout" for role in runtime.install_tags),
        "cluster_extensions_timeout",
        "tensorboard_install_timeout",
    ]


def static_inventory(
    hosts: Sequence[Host],
    connections: Connections,
    *,
    proxy_jump: str | None,
    variables: Mapping[str, Any],
    found: Mapping[str, HostGpus],
) -> dict[str, Any]:
    """Return an Ansible inventory of hosts, with their GPUs, that does not depend on open connections."""
    connection = Connections.static_variables(
        hosts,
        username=connections.username,
        key=connections.key,
        known_hosts=connections.known_hosts,
        proxy_jump=proxy_jump,
    )
    return inventory.build(hosts, connection=add_variables(connection, found), variables=variables)
