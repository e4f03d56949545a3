"""An audit of regions: a table per cluster, with the commands that remove what is left behind; and as a document."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import Any

from rich.console import RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from flambe_ansible.cli.render.costs import write_month
from flambe_ansible.cli.render.words import count, make_table
from flambe_ansible.doctor.audit import ClusterAudit, RegionAudit, Resource, State
from flambe_ansible.ec2.tagged import Kind

SCHEMA_VERSION = 1  # of the JSON document
DIGITS = 6  # of amounts in it
STYLES = {State.RUNNING: "bold green", State.ORPHANED: "bold red"}


def render_region(region: RegionAudit, *, orphans: bool) -> Iterator[RenderableType]:
    """Draw a region; with ``orphans`` only what is left behind. Commands are ``Text`` with the style of a command."""
    place = region.place
    where = f"lab {place.lab}" if place.lab else place.region
    account = f", account {place.account}" if place.account else ""
    clusters = [one for one in region.clusters if one.orphans] if orphans else region.clusters
    found = count(len(clusters), "cluster") + (" with something left behind" if orphans else "")
    yield Text.assemble((f"{where}{account}", "bold"), f": {found if clusters else _nothing(orphans)}")
    for kind, permission in region.denied.items():
        yield Text(f"not looked at: {_plural(kind)}: {permission} is not allowed", style="yellow")
    for cluster in clusters:
        yield Text()
        yield _render_title(cluster)
        yield Padding(_render_resources(cluster.orphans if orphans else cluster.resources), (0, 0, 0, 2))
        for reason, resources in _group(cluster.orphans):
            yield Text(f"  left behind: {', '.join(_name(one) for one in resources)}: {reason}", style="red")


def list_commands(region: RegionAudit, *, orphans: bool) -> dict[str, str]:
    """List the commands that remove what is shown, each with what it removes."""
    commands: dict[str, str] = {}
    for cluster in region.clusters:
        shown = cluster.orphans if orphans else cluster.resources
        for one in shown:
            about = f"all of {cluster.name}" if one.remedy == cluster.remedy else _name(one)
            commands.setdefault(one.remedy, about)
    return commands


def describe(regions: Sequence[RegionAudit], *, orphans: bool) -> dict[str, Any]:
    """Return the documented JSON document."""
    return {
        "schema_version": SCHEMA_VERSION,
        "orphans": sum(region.orphans for region in regions),
        "complete": not any(region.denied for region in regions),
        "regions": [
            {
                "region": region.place.region,
                "account": region.place.account,
                "lab": region.place.lab,
                "not_looked_at": {str(kind): permission for kind, permission in region.denied.items()},
                "clusters": [
                    _describe_cluster(one, orphans=orphans) for one in region.clusters if one.orphans or not orphans
                ],
            }
            for region in regions
        ],
    }


def _describe_cluster(cluster: ClusterAudit, *, orphans: bool) -> dict[str, Any]:
    return {
        "name": cluster.name,
        "creator": cluster.creator,
        "state": str(cluster.state),
        "since": _write(cluster.since),
        "usd_per_hour": _round(cluster.per_hour),
        "usd_so_far": _round(cluster.so_far),
        "snapshots_usd_per_month": _round(cluster.snapshots_per_month),
        "remedy": cluster.remedy,
        "resources": [_describe_resource(one) for one in (cluster.orphans if orphans else cluster.resources)],
    }


def _describe_resource(one: Resource) -> dict[str, Any]:
    tagged = one.tagged
    return {
        "kind": str(tagged.kind),
        "id": tagged.id,
        "name": tagged.name,
        "role": str(tagged.role or ""),
        "type": tagged.type,
        "size_gb": tagged.size,
        "instance": tagged.instance,
        "state": tagged.state,
        "since": _write(tagged.since),
        "usd_per_hour": _round(one.per_hour),
        "usd_so_far": _round(one.so_far),
        "orphan": one.orphan,
        "remedy": one.remedy,
    }


def _render_title(cluster: ClusterAudit) -> Text:
    parts = [f"since {_show(cluster.since)}"] if cluster.since else []
    per_hour, so_far = cluster.per_hour, cluster.so_far
    parts.append("price unknown" if per_hour is None else f"{per_hour:.4f} USD per hour")
    parts += [f"{so_far:.2f} USD so far"] if so_far is not None and per_hour else []
    if any(one.tagged.kind is Kind.SNAPSHOT for one in cluster.resources):
        parts.append(f"snapshots: {write_month(cluster.snapshots_per_month)}")
    title = Text.assemble((cluster.name, "bold"), f" of {cluster.creator or 'an unknown creator'} is ")
    title.append(str(cluster.state), style=STYLES.get(cluster.state, "bold yellow"))
    return title.append(f"; {', '.join(parts)}")


def _render_resources(resources: Iterable[Resource]) -> Table:
    table = make_table("what", "id", "state", "since", "USD/h")
    for one in resources:
        tagged = one.tagged
        what = str(tagged.role).lower() if tagged.role else str(tagged.kind)
        most = "<= " if tagged.kind is Kind.SNAPSHOT else ""
        price = "?" if one.per_hour is None else f"{most}{one.per_hour:.4f}"
        shown = tagged.instance if tagged.kind is Kind.ALARM else tagged.id
        table.add_row(what, shown, tagged.state, _show(tagged.since), price, style="red" if one.orphan else "")
    return table


def _group(orphans: Iterable[Resource]) -> Iterable[tuple[str, list[Resource]]]:
    groups: dict[str, list[Resource]] = {}
    for one in orphans:
        groups.setdefault(one.orphan, []).append(one)
    return groups.items()


def _name(one: Resource) -> str:
    tagged = one.tagged
    return f"alarm of {tagged.instance}" if tagged.kind is Kind.ALARM else f"{tagged.kind} {tagged.id}"


def _nothing(orphans: bool) -> str:
    return "nothing is left behind" if orphans else "nothing has the tags of a cluster"


def _plural(kind: Kind) -> str:
    return f"{kind}s"


def _show(moment: datetime | None) -> str:
    return f"{moment.astimezone():%Y-%m-%d %H:%M}" if moment else ""


def _write(moment: datetime | None) -> str | None:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ") if moment else None


def _round(amount: float | None) -> float | None:
    return None if amount is None else round(amount, DIGITS)
