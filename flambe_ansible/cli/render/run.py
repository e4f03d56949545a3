"""Jobs and their sites, as text and as data."""

from __future__ import annotations

import shlex
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from flambe_ansible.cli.render.words import format_seconds, make_grid
from flambe_ansible.jobs.sites import Dashboards, Sites, find_public_sites
from flambe_ansible.jobs.state import NONE, JobState

if TYPE_CHECKING:
    from flambe_ansible.cluster.cluster import Cluster
    from flambe_ansible.launch.launch import Submission

STYLES = {"succeeded": "bold green", "failed": "bold red", "running": "bold cyan", "queued": "bold cyan"}
STAGE_STYLES = {"succeeded": "green", "failed": "red", "running": "cyan"}


def render_run(run: JobState, *, now: datetime | None = None) -> RenderableType:
    """Draw the state of a job: a line, its stages, lost hosts and the reason of a failure."""
    if run.state == NONE:
        return Text("Job: none yet")
    title = Text.assemble("Job: ", (run.name, "bold"), " ", (run.state, STYLES.get(run.state, "bold yellow")))
    title.append(_describe_times(run, now or datetime.now(UTC)))
    lines: list[RenderableType] = [title]
    if run.stages:
        lines.append(_render_stages(run))
    notes = [Text(f"lost host: {one.name} ({one.address}): {one.reason}", style="red") for one in run.lost]
    if run.reason and not run.succeeded:
        notes.append(Text(run.reason))
    lines += [Padding.indent(note, 2) for note in notes]
    if run.settling:
        lines.append(Text("  Ray is restarting on all hosts for the next job", style="dim"))
    return Group(*lines)


def render_submission(done: Submission, *, file: str, cluster: Cluster) -> RenderableType:
    """Draw the result of a submission: the job's state, and the next commands."""
    title = Text.assemble((done.run.name, "bold"), " is ", (done.run.state, "bold green"), f" on {cluster.name}")
    if done.replaced:
        title.append("; the previous job was stopped")
    name = shlex.quote(file)
    grid = make_grid(style="bold")
    if done.run.save_path and cluster.expose_sites:
        sites = find_public_sites(done.launch.hosts[0], done.run)
        if sites.report_site:
            grid.add_row("report", sites.report_site)
        grid.add_row("plots", sites.tensorboard)
    elif done.run.save_path:
        grid.add_row("sites" if done.run.is_experiment else "plots", f"flambe-ans open {name}")
    grid.add_row("log", f"flambe-ans logs {name} --follow")
    grid.add_row("status", f"flambe-ans status {name}")
    if done.run.save_path:
        grid.add_row("results", f"flambe-ans pull {name} results/")
    grid.add_row("stop", f"flambe-ans stop {name}")
    return Group(Text(), title, Text(), grid)


def describe_submission(done: Submission, run: JobState, *, cluster: Cluster) -> dict[str, Any]:
    """Return a submission as plain data."""
    from flambe_ansible.cli.render.card import describe_launch

    exposed = cluster.expose_sites and bool(run.save_path)
    sites = asdict(find_public_sites(done.launch.hosts[0], done.run)) if exposed else None
    document = describe_launch(done.launch, cluster=cluster.name, location=cluster.location())
    return {**document, "run": run.to_dict(), "replaced": done.replaced, "sites": sites}


def render_sites(sites: Sites) -> RenderableType:
    """Draw the addresses of the sites."""
    grid = Table.grid(padding=(0, 2))
    none = Text("none (only experiments have one)", style="dim")
    grid.add_row("Report site", Text(sites.report_site, style="bold") if sites.report_site else none)
    grid.add_row("TensorBoard", Text(sites.tensorboard, style="bold"))
    return grid


def render_dashboards(found: Dashboards) -> RenderableType:
    """Draw the addresses of Ray's dashboard and TensorBoard."""
    grid = make_grid(style="bold")
    grid.add_row("Ray dashboard", found.dashboard)
    grid.add_row("TensorBoard", found.tensorboard)
    if not found.token_file:
        return grid
    return Group(
        grid, Text(), Text("The dashboard asks for the cluster's token. It is in the file"), Text(found.token_file)
    )


def _render_stages(run: JobState) -> Text:
    line = Text("  ")
    for index, (name, state) in enumerate(run.stages.items()):
        line.append(" > " if index else "")
        line.append(name, style=STAGE_STYLES.get(state, "dim"))
        line.append("" if state in ("succeeded", "pending") else f" ({state})")
    return line


def _describe_times(run: JobState, now: datetime) -> str:
    if not run.since:
        return ""
    started = datetime.fromisoformat(run.since)
    if not run.until:
        return f" since {run.since}, for {format_seconds(max((now - started).total_seconds(), 0))}"
    ended = datetime.fromisoformat(run.until)
    return f" at {run.until}, after {format_seconds((ended - started).total_seconds())}"
