"""A launch's options, the role variables that follow from them, and its result."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from flambe_ansible import events, inventory, secrets
from flambe_ansible.errors import ClusterBusyError, PlaybookError
from flambe_ansible.fleet.fleet import Fleet
from flambe_ansible.fleet.player import Player
from flambe_ansible.hosts import Host
from flambe_ansible.jobs.state import JobState
from flambe_ansible.playbooks import HostResult
from flambe_ansible.runtimes import Runtime, RuntimeVersion
from flambe_ansible.runtimes.ray_service import RayNodes
from flambe_ansible.ssh import Connections

PROTECTED = "protected"  # the failed step of a module that refuses a change because Ray runs


@dataclass(kw_only=True)
class LaunchOptions:
    """The options of one launch.

    Attributes:
        force: Restart Ray and change its runtime even if that ends a running job.
        rerun_setup: Run the setup commands even if nothing changed.
        secrets_file: The user's secrets; None is ``~/.flambe/secrets.ini``, if it exists.
        secrets_sections: The sections to send; None is all.
    """

    force: bool = False
    rerun_setup: bool = False
    secrets_file: Path | None = None
    secrets_sections: Sequence[str] | None = None

    def check(self) -> None:
        """Check that the secrets can be sent."""
        secrets.check(self.secrets_file, self.secrets_sections)


@dataclass(frozen=True, kw_only=True)
class LaunchResult:
    """What a launch did.

    Attributes:
        hosts: The orchestrator, then the factories.
        created: Names of the hosts that it created.
        runtime: The runtime's name.
        version: What the hosts have installed.
        playbook: What the playbook did, by host name.
        ray: Ray's nodes at the end; None if the runtime has no Ray.
        seconds: Its duration.
        log: The playbook's full log.
    """

    hosts: tuple[Host, ...]
    created: tuple[str, ...]
    runtime: str = "flambe"
    version: RuntimeVersion
    playbook: Mapping[str, HostResult]
    ray: RayNodes | None
    seconds: float
    log: Path


def role_variables(
    cluster: str,
    runtime: Runtime,
    version: RuntimeVersion,
    options: LaunchOptions,
    *,
    setup_cmds: Sequence[str] | None,
    setup_timeout: float,
    install_timeout: float,
) -> dict[str, Any]:
    """Return the role variables of a cluster; the roles' defaults apply to the rest."""
    source = secrets.find(options.secrets_file)
    return {
        "cluster_name": cluster,
        "cluster_runtime": runtime.name,
        "setup_cmds_commands": list(setup_cmds or []),
        "setup_cmds_timeout": setup_timeout,
        "setup_cmds_rerun": options.rerun_setup,
        **runtime.variables(version),
        **dict.fromkeys(_list_install_limits(runtime), install_timeout),
        "secrets_src": str(source) if source else "",
        "secrets_sections": list(options.secrets_sections or []),
    }


def _list_install_limits(runtime: Runtime) -> list[str]:
    """List the role variables that limit the commands of installations."""
    if not runtime.install_tags:
        return []
    return [*(f"{role}_timeout" for role in runtime.install_tags), "extensions_timeout", "tensorboard_install_timeout"]


def static_inventory(
    hosts: Sequence[Host], connections: Connections, *, proxy_jump: str | None, variables: Mapping[str, Any]
) -> dict[str, Any]:
    """Return an Ansible inventory of hosts that does not depend on open connections."""
    connection = {
        host.name: Connections.static_variables(
            host,
            username=connections.username,
            key=connections.key,
            known_hosts=connections.known_hosts,
            proxy_jump=proxy_jump,
        )
        for host in hosts
    }
    return inventory.build(hosts, connection=connection, variables=variables)


def protect(player: Player, runtime: Runtime, *, cluster: str, job: JobState) -> None:
    """Refuse a launch that would end a running job; the roles that may do so are played in check mode.

    Raises:
        ClusterBusyError: Ray would be restarted, or its runtime changed, on a host on which it runs.
        PlaybookError: The check failed.
    """
    tags = [*runtime.install_tags, *([runtime.ray.tag] if runtime.ray else [])]
    player.fleet.observer(
        events.Notice(message=f"{job.name} is {job.state}; checking that this launch does not end it")
    )
    quiet = replace(player, fleet=replace(player.fleet, observer=events.ignore))
    try:
        quiet.play(variables=runtime.protection, tags=tags, check=True)
    except PlaybookError as error:
        hosts: dict[str, list[str]] = {}
        for failure in error.failures:
            if failure.step == PROTECTED:
                hosts.setdefault(failure.message, []).append(failure.host)
        if not hosts:
            raise
        reasons = "; ".join(f"{', '.join(names)}: {message}" for message, names in hosts.items())
        raise ClusterBusyError(
            f"cluster {cluster} is busy: {job.name} is {job.state} since {job.since or 'just now'}, and this launch"
            f" would end it; nothing was changed; {reasons}",
            state=job.state,
            hint="wait for it (flambe-ans logs CLUSTER --follow), stop it (flambe-ans stop CLUSTER), or end it with"
            " flambe-ans launch CLUSTER --force",
        ) from error


def converge(
    player: Player, runtime: Runtime, version: RuntimeVersion, *, created: Sequence[str], started: float
) -> LaunchResult:
    """Bring connected hosts to their state, and check Ray; ``started`` is a time of ``time.monotonic()``."""
    log = player.new_log()
    played = player.play(log=log)
    nodes = _check_ray(player.fleet, runtime)
    return LaunchResult(
        hosts=tuple(player.fleet.hosts),
        created=tuple(host.name for host in player.fleet.hosts if host.name in created),
        runtime=runtime.name,
        version=version,
        playbook=played,
        ray=nodes,
        seconds=time.monotonic() - started,
        log=log,
    )


def _check_ray(fleet: Fleet, runtime: Runtime) -> RayNodes | None:
    if runtime.ray is None:
        return None
    started = time.monotonic()
    nodes = runtime.ray.check(fleet.connections, fleet.hosts)
    seconds = time.monotonic() - started
    for host in fleet.hosts:
        fleet.observer(events.StepEvent(host=host.name, step="ray", status=events.Status.OK, seconds=seconds))
    return nodes
