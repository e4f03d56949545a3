"""The plan of a launch: the hosts that exist, and those that will be created."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from flambe_ansible.cli.render.costs import render_price, write_price
from flambe_ansible.cli.render.words import MANY_HOSTS, count, list_hosts, make_grid, make_table, shorten_host
from flambe_ansible.hosts import Location, Role
from flambe_ansible.launch.plan import Action, Change, Effect, Plan, PlannedHost

SIGNS = {Action.CREATE: "+", Action.START: "~", Action.REPLACE: "-/+", Action.REUSE: ""}
STYLES = {Action.CREATE: "green", Action.START: "yellow", Action.REPLACE: "bold red", Action.REUSE: "dim"}
EFFECTS = {Effect.IN_PLACE: "yellow", Effect.NEW_HOSTS: "dim", Effect.NONE: "dim", Effect.REFUSED: "red"}
WORDS = {Action.CREATE: "create", Action.START: "start", Action.REPLACE: "replace", Action.REUSE: "unchanged"}


def render_plan(plan: Plan) -> RenderableType:
    """Draw the plan: properties of the cluster, a line per host, a summary, notes."""
    location = Location(region=plan.region, account=plan.account)
    where = ", ".join(filter(None, (plan.provider, str(location))))
    title = Text.assemble((plan.cluster, "bold"), f"  on {where}")
    parts: list[RenderableType] = [title, _render_facts(plan), Text(), _render_hosts(plan), Text()]
    parts += _render_changes(plan)
    parts.append(Text(summarize(plan), style="bold"))
    parts += render_price(plan.costs) if plan.costs else []
    parts += [Text.assemble(("note: ", "yellow"), note) for note in plan.notes]
    return Group(*parts)


def summarize(plan: Plan) -> str:
    """Summarize the plan in one line."""
    counts = plan.counts
    start = f"{counts['start']} to start, " if counts["start"] else ""
    return (
        f"Plan: {counts['add']} to add, {start}{counts['change']} to change, {counts['replace']} to replace, "
        f"{counts['unchanged']} unchanged"
    )


def write_question(plan: Plan) -> str:
    """Write the question of a launch."""
    numbers = Counter(host.action for host in plan.hosts)
    create, start = numbers[Action.CREATE], numbers[Action.START]
    question = f"Create {count(create, 'host')}" if create else ""
    if start:
        question = f"Create {create} and start {count(start, 'host')}" if create else f"Start {count(start, 'host')}"
    if not plan.to_replace:
        return f"{question}?"
    names = list_hosts([shorten_host(host.name, plan.cluster) for host in plan.to_replace])
    replacement = f"replace {names} and delete all data on {'it' if len(plan.to_replace) == 1 else 'them'}"
    return f"{question}, {replacement}?" if question else f"R{replacement[1:]}?"


def _render_facts(plan: Plan) -> RenderableType:
    grid = make_grid()
    rows = _describe(plan, "image", _name_image) + _describe(plan, "disk", lambda host: host.volume)
    for label, value in rows + _describe_gpus(plan):
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


def _describe_gpus(plan: Plan) -> list[tuple[str, str]]:
    """Write each kind of GPUs with the number of the hosts that have it; nothing if no host has GPUs."""
    numbers = Counter(host.gpus for host in plan.hosts if host.gpus)
    kinds = [f"{kind} ({number} of {len(plan.hosts)} hosts)" for kind, number in numbers.items()]
    return [("GPUs", "; ".join(kinds))] if kinds else []


def _name_image(host: PlannedHost) -> str:
    return f"{host.image} ({host.image_name})" if host.image and host.image_name else host.image or host.image_name


def _render_hosts(plan: Plan) -> Table:
    priced = plan.costs is not None
    table = make_table("", "host", "action", "type", *(["USD/h"] if priced else []), "current state")
    for hosts in _group(plan.hosts):
        planned, many = hosts[0], len(hosts) > 1
        host, changed = planned.host, planned.changes_in_place
        facts = (
            (str(host.state), *(() if many else (host.instance_id, host.address or host.private_ip))) if host else ()
        )
        style = STYLES[Action.START if changed else planned.action]
        reused = planned.action is Action.REUSE
        action = Text("change" if changed and reused else WORDS[planned.action], style=style)
        sign = Text("~" if changed else SIGNS[planned.action], style=style)
        name = list_hosts([shorten_host(one.name, plan.cluster) for one in hosts])
        price = [_write_price(planned) + (" each" if many else "")] if priced else []
        table.add_row(sign, name, action, planned.instance_type, *price, " ".join(filter(None, facts)))
    return table


def _group(hosts: Sequence[PlannedHost]) -> list[list[PlannedHost]]:
    """Group the hosts of each line of the table: one, or in a large cluster all factories with the same cells."""
    groups: dict[tuple[object, ...], list[PlannedHost]] = {}
    for one in hosts:
        alone = len(hosts) <= MANY_HOSTS or one.role is Role.ORCHESTRATOR
        state = one.host.state if one.host else ""
        same = (one.action, one.changes_in_place, one.instance_type, _write_price(one), state)
        groups.setdefault((one.name,) if alone else same, []).append(one)
    return list(groups.values())


def _write_price(planned: PlannedHost) -> str:
    price = planned.price.per_hour if planned.price else None
    return "unknown" if price is None else write_price(price)


def _render_changes(plan: Plan) -> list[RenderableType]:
    """Draw a line per field that differs, and what the launch does about it; equal lines of several hosts once."""
    owners: dict[Change, list[str]] = {change: ["cluster"] for change in plan.changes}
    for host in plan.hosts:
        for change in host.changes:
            owners.setdefault(change, []).append(shorten_host(host.name, plan.cluster))
    if not owners:
        return []
    lines: list[RenderableType] = [Text("Differences between the hosts and the file:")]
    for change, names in owners.items():
        sign, values = _describe_change(change)
        why = f"; {change.why}" if change.why else ""
        line = Text.assemble(f"{sign} ", (change.field, "bold"), f"  {values}  ({list_hosts(names)})")
        lines.append(Padding(line, (0, 0, 0, 2)))
        lines.append(Padding(Text(f"{change.effect}{why}", style=EFFECTS[change.effect]), (0, 0, 0, 6)))
    return [*lines, Text()]


def _describe_change(change: Change) -> tuple[str, str]:
    """Return the sign of a change, and its values in words."""
    if not change.current:
        return "+", change.wanted
    if not change.wanted:
        return "-", change.current
    return "~", f"{change.current} -> {change.wanted}"
