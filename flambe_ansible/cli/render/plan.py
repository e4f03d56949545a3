"""The plan of a launch: the hosts that exist, and those that will be created."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from flambe_ansible.cli.render.words import count, make_grid, make_table, shorten_host
from flambe_ansible.hosts import Location, Role
from flambe_ansible.launch.plan import Action, Plan, PlannedHost

STYLES = {Action.CREATE: "green", Action.START: "yellow", Action.REPLACE: "bold red", Action.REUSE: "dim"}
WORDS = {Action.CREATE: "create", Action.START: "start", Action.REPLACE: "replace", Action.REUSE: "unchanged"}


def render_plan(plan: Plan) -> RenderableType:
    """Draw the plan: properties of the cluster, a line per host, a summary, notes."""
    location = Location(region=plan.region, account=plan.account)
    where = ", ".join(filter(None, (plan.provider, str(location))))
    title = Text.assemble((plan.cluster, "bold"), f"  on {where}")
    parts: list[RenderableType] = [title, _render_facts(plan), Text(), _render_hosts(plan), Text()]
    parts.append(Text(summarize(plan), style="bold"))
    parts += [Text.assemble(("note: ", "yellow"), note) for note in plan.notes]
    return Group(*parts)


def summarize(plan: Plan) -> str:
    """Summarize the plan in one line."""
    numbers = Counter(host.action for host in plan.hosts)
    parts = [
        f"{numbers[action]} to {WORDS[action]}" for action in WORDS if action is not Action.REUSE and numbers[action]
    ]
    if not parts:
        return f"Nothing to create: {count(len(plan.hosts), 'host')} unchanged"
    if numbers[Action.REUSE]:
        parts.append(f"{numbers[Action.REUSE]} unchanged")
    return "Hosts: " + ", ".join(parts)


def write_question(plan: Plan) -> str:
    """Write the question of a launch."""
    numbers = Counter(host.action for host in plan.hosts)
    create, start = numbers[Action.CREATE], numbers[Action.START]
    question = f"Create {count(create, 'host')}" if create else ""
    if start:
        question = f"Create {create} and start {count(start, 'host')}" if create else f"Start {count(start, 'host')}"
    if not plan.to_replace:
        return f"{question}?"
    names = ", ".join(shorten_host(host.name, plan.cluster) for host in plan.to_replace)
    replacement = f"replace {names} and delete all data on {'it' if len(plan.to_replace) == 1 else 'them'}"
    return f"{question}, {replacement}?" if question else f"R{replacement[1:]}?"


def _render_facts(plan: Plan) -> RenderableType:
    grid = make_grid()
    for label, value in _describe(plan, "image", _name_image) + _describe(plan, "disk", lambda host: host.volume):
        grid.add_row(label, value)
    for kind, text in plan.resources.items():
        grid.add_row(kind, text)
    if plan.version.version:
        python = f" on {plan.version.python}" if plan.version.python else ""
        origin = f" ({plan.version.origin})" if plan.version.origin else ""
        grid.add_row(plan.runtime, f"{plan.version.version}{python}{origin}")
    elif plan.version.origin:
        grid.add_row(plan.runtime, plan.version.origin)
    elif plan.runtime == "none":
        grid.add_row("runtime", "none: keys, setup commands and secrets only")
    return grid


def _describe(plan: Plan, label: str, get: Callable[[PlannedHost], str]) -> list[tuple[str, str]]:
    """Write a property once if all hosts share it, else once per role."""
    values = {host.name: get(host) for host in plan.hosts if get(host)}
    if len(set(values.values())) == 1:
        return [(label, next(iter(values.values())))]
    lines = []
    for role, prefix in ((Role.ORCHESTRATOR, "orchestrator"), (Role.FACTORY, "factories")):
        if own := dict.fromkeys(get(host) for host in plan.hosts if host.role is role and get(host)):
            lines.append((f"{prefix} {label}", "; ".join(own)))
    return lines


def _name_image(host: PlannedHost) -> str:
    return f"{host.image} ({host.image_name})" if host.image and host.image_name else host.image or host.image_name


def _render_hosts(plan: Plan) -> Table:
    table = make_table("host", "action", "type", "current state")
    for planned in plan.hosts:
        host = planned.host
        facts = (str(host.state), host.instance_id, host.address or host.private_ip) if host else ()
        action = Text(WORDS[planned.action], style=STYLES[planned.action])
        name = shorten_host(planned.name, plan.cluster)
        table.add_row(name, action, planned.instance_type, " ".join(filter(None, facts)))
    return table
