"""The result of a launch: the hosts, what changed, and the next commands."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from flambe_ansible.cli.render.failure import describe_error
from flambe_ansible.cli.render.words import (
    MANY_HOSTS,
    count,
    format_seconds,
    label_host,
    list_hosts,
    make_grid,
    make_table,
    shorten_host,
)
from flambe_ansible.hosts import Host, Location, Role
from flambe_ansible.launch.plan import Action, Effect
from flambe_ansible.launch.status import ClusterState, ClusterStatus
from flambe_ansible.ssh.options import quote_value

if TYPE_CHECKING:
    from flambe_ansible.launch.launch import LaunchResult
    from flambe_ansible.launch.plan import Plan


def render_card(
    result: LaunchResult, *, file: str, cluster: str, changes: Sequence[tuple[str, str, str]]
) -> RenderableType:
    """Draw the closing card: ``file`` is the configuration as the user gave it; changes are (host, step, detail)."""
    state = ("degraded", "bold red") if result.failed else ("running", "bold green")
    title = Text.assemble((cluster, "bold"), " is ", state, f": {_describe(result)}")
    parts: list[RenderableType] = [Text(), title, Text(), _render_hosts(result), Text()]
    if result.version.source:  # a checkout's content differs from launch to launch; a release does not
        described = f"{result.version.version} ({result.version.origin})"
        parts.append(Text.assemble((f"{result.runtime}: ", "dim"), described))
    parts += _render_changes(changes, cluster, created=result.created)
    return Group(*parts, Text(), _render_next(file))


def write_ssh_line(host: Host, *, username: str, key: str, known_hosts: Path, proxy_jump: str | None = None) -> str:
    """Write the command that logs in to a host with plain OpenSSH, with the same check of the host key."""
    options = [f"UserKnownHostsFile={quote_value(known_hosts)}", f"HostKeyAlias={host.key_alias}", "IdentitiesOnly=yes"]
    options += [f"ProxyJump={proxy_jump}"] if proxy_jump else []
    port = [] if host.port == 22 else ["-p", str(host.port)]
    words = [word for option in options for word in ("-o", option)]
    return shlex.join(["ssh", "-i", key, *words, *port, f"{username}@{host.address}"])


def describe_launch(result: LaunchResult, *, cluster: str, location: Location) -> dict[str, Any]:
    """Return the launch as plain data: the document of ``status``, and the result of the launch."""
    orchestrator = next((host for host in result.hosts if host.role is Role.ORCHESTRATOR), None)
    members = [*result.hosts, *(one.host for one in result.failed)]
    factories = [host for host in members if host.role is Role.FACTORY]
    status = ClusterStatus(
        name=cluster,
        state=ClusterState.DEGRADED if result.failed else ClusterState.RUNNING,
        orchestrator=orchestrator,
        factories=tuple(sorted(factories, key=lambda host: host.index)),
        runtime=result.runtime,
        has_ray=result.ray is not None,
        ray=result.ray,
        silent={one.host.name: one.error.message for one in result.failed},
        location=location,
    )
    document = status.to_dict()
    installed = {"origin": result.version.origin}
    if result.version.version:  # else it is known only on the hosts
        installed["version"] = result.version.version
    return {
        **document,
        result.runtime: {"version": "", **document.get(result.runtime, {}), **installed},
        "created": list(result.created),
        "failed": {one.host.name: describe_error(one.error) for one in result.failed},
        "changed": {name: host.changed for name, host in result.playbook.items()},
        "seconds": round(result.seconds, 1),
        "log": None if result.log is None else str(result.log),
    }


def list_planned_changes(plan: Plan) -> list[tuple[str, str, str]]:
    """List what a launch changed outside of the hosts' systems, as (host, step, detail); "" is the cluster as a whole.

    The plan has these changes, such as those of tags, and of hosts that were started; no step of the progress has them.
    """
    changes = [("", one.field, one.wanted) for one in plan.changes if one.effect is Effect.IN_PLACE]
    for host in plan.hosts:
        if host.changes_in_place:
            changes += [(host.name, "start", "")] if host.action is Action.START else []
            changes += [(host.name, one.field, one.wanted) for one in host.changes if one.effect is Effect.IN_PLACE]
    return changes


def _describe(result: LaunchResult) -> str:
    total, took = len(result.hosts) + len(result.failed), format_seconds(result.seconds)
    hosts = f"{len(result.hosts)} of {count(total, 'host')} ready" if result.failed else count(total, "host")
    if result.ray is None:
        return f"{hosts}, in {took}"
    alive = result.ray.count_alive(result.hosts)
    version = f" (Ray {result.ray.version})" if result.ray.version else ""
    return f"{hosts}, {count(alive, 'Ray node')} alive{version}, in {took}"


def _render_hosts(result: LaunchResult) -> Table:
    table = make_table("host", "connect to", "private", "instance")
    many = len(result.hosts) > MANY_HOSTS
    for host in result.hosts[:1] if many else result.hosts:
        table.add_row(label_host(host), host.address, host.private_ip or "-", host.instance_id or "-")
    if many:
        table.add_row(list_hosts([label_host(host) for host in result.hosts[1:]]), "see the status")
    return table


def _render_changes(
    changes: Sequence[tuple[str, str, str]], cluster: str, *, created: Sequence[str]
) -> list[RenderableType]:
    """List the changes; hosts with the same step and detail share a line."""
    if not changes:
        return [Text("No changes: all hosts were up to date.")]
    lines: list[RenderableType] = []
    if created:
        names = list_hosts([shorten_host(host, cluster) for host in created])
        lines.append(Text.assemble(("created: ", "green"), names))
    grouped: dict[tuple[str, str], list[str]] = {}
    for host, step, detail in changes:
        if host not in created:
            grouped.setdefault((step, detail), []).append(shorten_host(host, cluster) if host else "")
    for (step, detail), hosts in grouped.items():
        who = ", ".join(hosts) if len(hosts) <= 4 else f"{len(hosts)} hosts"
        where = f" on {who}" if hosts != [""] else ""
        lines.append(Text.assemble(("changed: ", "yellow"), f"{step}{where}", f": {detail}" if detail else ""))
    return lines


def _render_next(file: str) -> Table:
    name = shlex.quote(file)
    grid = make_grid(style="bold")
    grid.add_row("shell", f"flambe-ans ssh {name}")
    grid.add_row("status", f"flambe-ans status {name}")
    grid.add_row("command", f"flambe-ans exec {name} -- uptime")
    grid.add_row("terminate", f"flambe-ans down {name}")
    return grid
