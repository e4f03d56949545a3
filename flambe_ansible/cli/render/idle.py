"""The automatic shutdown of each host as a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.table import Table

from flambe_ansible.cli.render.words import MANY_HOSTS, count, format_time, label_host, list_hosts, make_grid
from flambe_ansible.fleet.idle import IdleState
from flambe_ansible.hosts import Host, Role

_WIDTH = 24  # of the hosts, in columns


def render_idle(hosts: Sequence[Host], states: Mapping[str, IdleState]) -> Table:
    """Draw a line per host: since when it is idle, what keeps it busy, and when it ends.

    In a large cluster, hosts with the same line share it.
    """
    lines: dict[tuple[str, str], list[str]] = {}
    orchestrator = next((states.get(host.name) for host in hosts if host.role is Role.ORCHESTRATOR), None)
    for host in hosts:
        if host.name in states:
            stays = host.role is Role.FACTORY and orchestrator is not None and orchestrator.keeps_factories
            text = describe(states[host.name], stays=stays)
            lines.setdefault((text, host.name if len(hosts) <= MANY_HOSTS else ""), []).append(label_host(host))
    grid = make_grid()
    for (text, _), names in lines.items():
        listed = list_hosts(names)
        grid.add_row(listed if len(listed) <= _WIDTH else count(len(names), "host"), text)
    return grid


def describe(state: IdleState, *, stays: bool = False) -> str:
    """Describe the state of one host: ``idle since 12:03, ends at 13:03``; ``stays``: the orchestrator keeps it."""
    kept = f"; kept until {format_time(state.kept_until)}" if state.kept_until else ""
    if state.age is None:
        return f"not checked yet{kept}"
    late = f"; the last check was at {format_time(state.checked)}" if state.is_late else ""
    if state.idle_since:
        end = f"ends at {format_time(state.ends)}" if state.ends else "never ends itself"
        end = "stays with the orchestrator" if stays else end
        waits = f"; {state.busy[0]['reason']}" if state.busy else ""
        return f"idle since {format_time(state.idle_since)}, {end}{waits}{kept}{late}"
    more = f", and {len(state.busy) - 1} more" if len(state.busy) > 1 else ""
    return f"busy: {state.busy[0]['reason'] if state.busy else 'unknown'}{more}{kept}{late}"
