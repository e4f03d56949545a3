"""A launch's options, the role variables that follow from them, and its result."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from flambe_ansible import events, inventory, secrets
from flambe_ansible.errors import ClusterConfigurationError, ClusterError, PlaybookError
from flambe_ansible.fleet import containers
from flambe_ansible.fleet.access import Limits
from flambe_ansible.fleet.fleet import Fleet
from flambe_ansible.fleet.idle import IdleOptions
from flambe_ansible.fleet.inputs import list_roles
from flambe_ansible.fleet.player import SITE, Player
from flambe_ansible.fleet.receipts import Receipts
from flambe_ansible.gpus import HostGpus, add_variables
from flambe_ansible.hosts import Host, Role
from flambe_ansible.jobs.sites import listen_address
from flambe_ansible.jobs.state import JobState
from flambe_ansible.launch import gpus
from flambe_ansible.launch.verifying import Selection, inspect, make_receipts, select_all
from flambe_ansible.playbooks import HostResult, count_rounds
from flambe_ansible.runtimes import Runtime, RuntimeVersion
from flambe_ansible.runtimes.ray_service import RayNodes, RayService
from flambe_ansible.ssh import Connections
from flambe_ansible.ssh.parallel import join


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


def converge(
    player: Player,
    runtime: Runtime,
    version: RuntimeVersion,
    *,
    created: Sequence[str],
    started: float,
    unreached: Sequence[FailedHost] = (),
    play_all: bool = False,
) -> LaunchResult:
    """Bring connected hosts to their state, and check Ray.

    The hosts are verified first; roles are played only where something differs (``launch/verifying.py``).

    Args:
        player: Its fleet has the connected hosts.
        runtime: What the hosts get installed.
        version: Its version.
        created: Names of the hosts that this launch created.
        started: The start of the launch, a time of ``time.monotonic()``.
        unreached: Factories that did not answer; they stay members of the cluster.
        play_all: Play all roles, also if no host differs.

    Raises:
        ClusterError: The orchestrator failed, or no factory is ready.
    """

    def passed() -> float:
        return time.monotonic() - started

    absent = [one.host for one in unreached]
    fleet, receipts = player.fleet, make_receipts(player, runtime, absent=absent)
    result = partial(
        LaunchResult,
        created=tuple(host.name for host in receipts.members if host.name in created),
        runtime=runtime.name,
        version=version,
    )
    found = inspect(receipts, runtime, observer=fleet.observer)
    if found.unchanged and not play_all:
        played = {host.name: HostResult(host=host.name) for host in fleet.hosts}
        hosts, failed = tuple(fleet.hosts), list(unreached)
        return result(hosts=hosts, failed=tuple(failed), playbook=played, ray=found.nodes, seconds=passed(), log=None)
    log, chosen = player.new_log(), select_all(receipts) if play_all else found.select()
    kept = {name: {*found.hosts[name].roles} - {*roles} for name, roles in chosen.by_host.items()}
    receipts.keep(kept)
    played = _play(player, chosen, absent=absent, log=log)
    failed = [*unreached, *_list_failed(fleet.hosts, played, log=log)]
    ready = keep_ready(fleet.hosts, failed)
    nodes = None
    if runtime.ray:
        nodes, lost = _check_ray(fleet, runtime.ray, ready)
        lost += _check_gpus(receipts, runtime.ray, nodes, keep_ready(ready, lost))
        failed += lost
        ready = keep_ready(ready, failed)
    names = [host.name for host in ready if host.name in kept and host.name in played]
    receipts.write({name: _list_roles(kept[name], played[name]) for name in names})
    played = {host.name: played.get(host.name, HostResult(host=host.name)) for host in fleet.hosts}
    failed.sort(key=lambda one: one.host.index)
    return result(hosts=tuple(ready), failed=tuple(failed), playbook=played, ray=nodes, seconds=passed(), log=log)


def _play(player: Player, chosen: Selection, *, absent: Sequence[Host], log: Path) -> dict[str, HostResult]:
    """Play the chosen roles; a factory may fail."""
    fleet = player.fleet
    return player.play(
        log=log,
        tags=chosen.roles,
        limit=[] if len(chosen.by_host) == len(fleet.hosts) else list(chosen.by_host),
        skip=chosen.skipped,
        absent=absent,
        required=[fleet.head.name],
    )


def _list_roles(kept: Collection[str], played: HostResult) -> list[str]:
    """List the roles that a host has after a playbook: those kept in its receipt, and those played."""
    played_now = {name for name, one in played.roles.items() if one.status is not events.Status.SKIPPED}
    return [role for role in list_roles() if role in played_now or role in kept]


def keep_ready(hosts: Sequence[Host], failed: Sequence[FailedHost]) -> list[Host]:
    """Return the hosts that did not fail.

    Raises:
        ClusterError: The orchestrator failed, or all factories; it has the messages of all.
    """
    errors = {one.host.name: one.error for one in failed}
    ready = [host for host in hosts if host.name not in errors]
    if failed and {host.role for host in ready} != set(Role):
        raise join(list(dict.fromkeys(one.error for one in sorted(failed, key=lambda one: one.host.order))))
    return ready


def _list_failed(hosts: Sequence[Host], played: Mapping[str, HostResult], *, log: Path) -> list[FailedHost]:
    """List the hosts on which the playbook failed; they share one error."""
    lost = [host for host in hosts if host.name in played and played[host.name].failures]
    failures = [failure for host in lost for failure in played[host.name].failures]
    names = ", ".join(host.name for host in lost)
    error = PlaybookError(f"{SITE} failed on {names}", failures=failures, log=str(log))
    return [FailedHost(host=host, error=error) for host in lost]


def _check_ray(fleet: Fleet, ray: RayService, hosts: Sequence[Host]) -> tuple[RayNodes, list[FailedHost]]:
    """Wait until every host has a live node; return Ray's nodes, and the factories without one."""
    started = time.monotonic()

    def report(missing: Sequence[Host]) -> None:
        late = {host.name for host in missing}
        for host in hosts:
            waits = host.name in late
            status = events.Status.RUNNING if waits else events.Status.OK
            seconds = None if waits else time.monotonic() - started
            if waits or host.name not in done:
                fleet.observer(events.StepEvent(host=host.name, step="ray", status=status, seconds=seconds))
            if not waits:
                done.add(host.name)

    done: set[str] = set()
    nodes = ray.await_nodes(fleet.connections, hosts, report=report)
    missing = nodes.find_missing(hosts)
    if not missing:
        return nodes, []
    error = ray.explain(fleet.connections, nodes, missing)
    for host in missing:
        fleet.observer(events.StepEvent(host=host.name, step="ray", status=events.Status.FAILED, detail=error.message))
    if fleet.head in missing:
        raise error
    return nodes, [FailedHost(host=host, error=error) for host in missing]


def _check_gpus(receipts: Receipts, ray: RayService, nodes: RayNodes, hosts: Sequence[Host]) -> list[FailedHost]:
    """Return the factories on which Ray has fewer GPUs than nvidia-smi lists.

    Raises:
        RayError: The orchestrator has.
    """
    fleet, roles = receipts.fleet, gpus.list_counted_roles(receipts.variables)
    compared = gpus.compare_with_ray(nodes, hosts, fleet.gpus, roles=roles)
    lacking = {name: pair for name, pair in compared.items() if pair[0] < pair[1]}
    if not lacking:
        return []
    error = gpus.make_error(lacking, unit=ray.unit)
    for name in lacking:
        fleet.observer(events.StepEvent(host=name, step="ray", status=events.Status.FAILED, detail=error.message))
    if fleet.head.name in lacking:
        raise error
    return [FailedHost(host=host, error=error) for host in hosts if host.name in lacking]
