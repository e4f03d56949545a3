"""The state of a cluster as a table."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from flambe_ansible.cli.render.commands import render_active
from flambe_ansible.cli.render.costs import render_spending
from flambe_ansible.cli.render.idle import render_idle
from flambe_ansible.cli.render.run import render_run
from flambe_ansible.cli.render.words import format_time, label_host, list_hosts, make_table
from flambe_ansible.fleet.reservation import Holder
from flambe_ansible.hosts import Host, HostState
from flambe_ansible.launch.status import ClusterState, ClusterStatus

STATE_STYLES = {ClusterState.RUNNING: "bold green", ClusterState.DEGRADED: "bold red", ClusterState.ABSENT: "bold"}
HOST_STYLES = {HostState.RUNNING: "green", HostState.STOPPED: "red", HostState.TERMINATED: "red"}


def render_status(status: ClusterStatus) -> RenderableType:
    """Draw the cluster's state, a line per host, and the state of Ray and of the last job."""
    restarting = _is_restarting(status)
    state = ClusterState.RUNNING if restarting else status.state
    title = Text.assemble((status.name, "bold"), " is ", (str(state), STATE_STYLES.get(state, "bold yellow")))
    title.append("; Ray is restarting after the job" if restarting else "")
    where = str(status.location)
    title.append(f"  ({where})" if where else "", style="dim")
    interrupted = [Text(describe_interruption(host), style="yellow") for host in status.interrupted]
    if not status.hosts:
        return Group(title, *interrupted) if interrupted else title
    lines: list[RenderableType] = [render_run(status.run)] if status.run else []
    if status.jobs is not None:
        lines.append(render_active(status.jobs))
    if status.reserved:
        lines.append(Text(f"Reserved: {describe_holder(status.reserved)}", style="yellow"))
    if status.costs:
        lines += render_spending(status.costs)
    silent = [Text(f"{label_host(host)}: no answer: {_reason(status, host)}") for host in _list_silent(status)]
    if status.idle:
        lines += [Text(), Text("Automatic shutdown:"), render_idle(status.hosts, status.idle)]
    types = [Text(line, style="dim") for line in describe_types(status.hosts)]
    types += [Text(line, style="dim" if good else "red") for line, good in describe_gpus(status)]
    ray = Text(describe_ray(status))
    return Group(title, Text(), _render_hosts(status), *types, Text(), *interrupted, *silent, ray, *lines)


def describe_interruption(host: Host) -> str:
    """Describe a host that the provider ended by itself."""
    return f"{label_host(host)} ({host.instance_id}) was interrupted by AWS; the next launch creates it anew"


def describe_types(hosts: Sequence[Host]) -> list[str]:
    """List the types of the hosts, one a line: ``g4dn.xlarge in us-east-1a, spot: factory 0, factory 1``."""
    found: dict[str, list[str]] = {}
    for host in hosts:
        if host.instance_type:
            place = f" in {host.zone}" if host.zone else ""
            found.setdefault(f"{host.instance_type}{place}{', spot' if host.spot else ''}", []).append(label_host(host))
    return [f"{kind}: {list_hosts(names)}" for kind, names in found.items()]


def describe_gpus(status: ClusterStatus) -> list[tuple[str, bool]]:
    """List the GPUs of the hosts, and whether they work; equal ones once.

    ``8 x NVIDIA H200: factory 0, factory 1`` and ``factory 2: nvidia-smi: No devices were found``.
    """
    found: dict[tuple[str, bool], list[str]] = {}
    for host in status.hosts:
        gpus = status.gpus.get(host.name)
        if gpus and str(gpus):
            found.setdefault((str(gpus), gpus.known), []).append(label_host(host))
    lines = []
    for (text, good), names in found.items():
        hosts = list_hosts(names)
        lines.append((f"{text}: {hosts}" if good else f"{hosts}: {text}", good))
    return lines


def describe_holder(holder: Holder) -> str:
    """Describe who has reserved a cluster: ``launch by ann@laptop since 12:03, from 10.0.0.7``."""
    since = f" since {format_time(holder.since)}" if holder.since else ""
    origin = f", from {holder.origin}" if holder.origin else ""
    return f"{holder.what or 'a command'} by {holder.who or 'another user'}{since}{origin}"


def describe_ray(status: ClusterStatus) -> str:
    """Describe the state of Ray in one line."""
    if status.unreachable:
        return "Ray: unknown, the orchestrator does not answer"
    if not status.has_ray:
        return f"Ray: not part of runtime {status.runtime}"
    if status.state in (ClusterState.STOPPED, ClusterState.SUSPENDED):
        return "Ray: stopped with the hosts"
    if status.ray is None:
        return "Ray: not set up yet"
    if _is_restarting(status):
        return "Ray: restarting on all hosts"
    if status.ray.error:
        return f"Ray: not available: {status.ray.error.strip().splitlines()[-1]}"
    version = f" ({status.ray.version})" if status.ray.version else ""
    return f"Ray: {status.ray_alive} of {len(status.hosts)} nodes alive{version}"


def _render_hosts(status: ClusterStatus) -> Table:
    table = make_table("host", "instance", "state", "private", "public", "ray")
    for host in status.hosts:
        table.add_row(
            label_host(host),
            host.instance_id or "-",
            Text(str(host.state), style=HOST_STYLES.get(host.state, "yellow")),
            host.private_ip or "-",
            host.public_ip or "-",
            _describe_node(status, host),
        )
    return table


def _describe_node(status: ClusterStatus, host: Host) -> Text:
    if status.ray and host.private_ip in status.ray.addresses:
        return Text("alive", style="green")
    if host.name in status.silent:
        return Text("no answer", style="red")
    if _is_restarting(status):
        return Text("restarting", style="yellow")
    if status.ray is None or status.ray.error:
        return Text("unknown" if status.ray else "-")
    return Text("dead" if status.ray.lists(host) else "not joined", style="red")


def _list_silent(status: ClusterStatus) -> list[Host]:
    return [host for host in status.hosts if host.name in status.silent]


def _reason(status: ClusterStatus, host: Host) -> str:
    return status.silent[host.name].removeprefix(f"{host.name}: ")


def _is_restarting(status: ClusterStatus) -> bool:
    """Whether Ray is down only because it restarts after a job: all hosts run."""
    settling = status.run is not None and status.run.settling and not status.run.lost
    hosts_run = all(host.state is HostState.RUNNING for host in status.hosts)
    return settling and hosts_run and status.state is ClusterState.DEGRADED
