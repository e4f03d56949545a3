"""Bring connected hosts to their state: verify them, play the roles that differ, and check Ray."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from functools import partial
from pathlib import Path

from flambe_ansible import events
from flambe_ansible.errors import HostError, PlaybookError
from flambe_ansible.fleet.fleet import Fleet
from flambe_ansible.fleet.inputs import list_roles
from flambe_ansible.fleet.player import SITE, Player
from flambe_ansible.fleet.receipts import Receipts
from flambe_ansible.hosts import Host, Role
from flambe_ansible.launch import gpus
from flambe_ansible.launch.launch import FailedHost, LaunchResult
from flambe_ansible.launch.verifying import Findings, Selection, inspect, make_receipts, select_all
from flambe_ansible.playbooks import HostResult
from flambe_ansible.runtimes import Runtime, RuntimeVersion
from flambe_ansible.runtimes.ray_service import RayNodes, RayService
from flambe_ansible.ssh.parallel import join


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
        hosts, failed, passed = tuple(fleet.hosts), tuple(unreached), time.monotonic() - started
        return result(hosts=hosts, failed=failed, playbook=played, ray=found.nodes, seconds=passed, log=None)
    log, chosen = player.new_log(), select_all(receipts) if play_all else found.select()
    kept = {name: {*found.hosts[name].roles} - {*roles} for name, roles in chosen.by_host.items()}
    proven = {name: kept[name] for name, roles in chosen.by_host.items() if found.hosts[name].may_prove(roles)}
    uncut = receipts.keep(proven)  # an interrupted play on these hosts would not be found
    unready = [*unreached, *_fail_each(fleet.hosts, uncut)]
    keep_ready(fleet.hosts, unready)
    chosen = Selection(by_host={name: roles for name, roles in chosen.by_host.items() if name not in uncut})
    played = _play(player, chosen, absent=absent, log=log) if chosen.by_host else {}
    unready += _list_failed(fleet.hosts, played, log=log)
    ready = keep_ready(fleet.hosts, unready)
    nodes, lost = _check_ray(receipts, runtime.ray, ready) if runtime.ray else (None, [])
    ready = keep_ready(ready, [*unready, *lost])
    names = [host.name for host in ready if host.name in kept and host.name in played]
    unwritten = _write_receipts(receipts, found, {name: _list_roles(kept[name], played[name]) for name in names})
    lost += _fail_each(ready, unwritten)
    failed = tuple(sorted([*unready, *lost], key=lambda one: one.host.index))
    ready = keep_ready(ready, failed)
    played = {host.name: played.get(host.name, HostResult(host=host.name)) for host in fleet.hosts}
    passed = time.monotonic() - started
    return result(hosts=tuple(ready), failed=failed, playbook=played, ray=nodes, seconds=passed, log=log)


def _write_receipts(receipts: Receipts, found: Findings, roles: Mapping[str, Sequence[str]]) -> dict[str, HostError]:
    """Write the receipts of hosts, and warn of those that were rebooted meanwhile; return the errors by name."""
    boots = {name: one.boot for name, one in found.hosts.items()}
    rebooted, errors = receipts.write(roles, boots=boots)
    if rebooted:
        text = f"{', '.join(rebooted)}: rebooted during this launch; launch again to repeat what a reboot undoes"
        receipts.fleet.observer(events.Notice(message=text, warning=True))
    return errors


def _play(player: Player, chosen: Selection, *, absent: Sequence[Host], log: Path) -> dict[str, HostResult]:
    """Play the chosen roles; a factory may fail."""
    fleet = player.fleet
    return player.play(
        log=log,
        tags=chosen.tags,
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


def _fail_each(hosts: Sequence[Host], errors: Mapping[str, HostError]) -> list[FailedHost]:
    """List hosts with their own errors, by name."""
    return [FailedHost(host=host, error=errors[host.name]) for host in hosts if host.name in errors]


def _list_failed(hosts: Sequence[Host], played: Mapping[str, HostResult], *, log: Path) -> list[FailedHost]:
    """List the hosts on which the playbook failed; they share one error."""
    lost = [host for host in hosts if host.name in played and played[host.name].failures]
    failures = [failure for host in lost for failure in played[host.name].failures]
    names = ", ".join(host.name for host in lost)
    error = PlaybookError(f"{SITE} failed on {names}", failures=failures, log=str(log))
    return [FailedHost(host=host, error=error) for host in lost]


def _check_ray(receipts: Receipts, ray: RayService, hosts: Sequence[Host]) -> tuple[RayNodes, list[FailedHost]]:
    """Check that Ray has a node on every host, with all its GPUs; return Ray's nodes, and the factories that fail."""
    nodes, lost = _await_nodes(receipts.fleet, ray, hosts)
    return nodes, lost + _check_gpus(receipts, ray, nodes, keep_ready(hosts, lost))


def _await_nodes(fleet: Fleet, ray: RayService, hosts: Sequence[Host]) -> tuple[RayNodes, list[FailedHost]]:
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
