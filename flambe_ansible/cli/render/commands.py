"""Jobs that run commands, as text."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from datetime import UTC, datetime

from rich.console import Group, RenderableType
from rich.text import Text

from flambe_ansible.cli.render.run import STYLES
from flambe_ansible.cli.render.words import format_seconds, make_grid, make_table
from flambe_ansible.jobs.command_state import CommandJob, CommandJobs


def render_submitted(job: CommandJob, *, file: str) -> RenderableType:
    """Draw a job that was just submitted, and the next commands."""
    name = shlex.quote(file)
    grid = make_grid(style="bold")
    grid.add_row("log", f"flambe-ans logs {name} {job.id} --follow")
    grid.add_row("jobs", f"flambe-ans jobs {name}")
    grid.add_row("sites", f"flambe-ans open {name}")
    grid.add_row("results", f"flambe-ans pull {name} results/ --name {job.id}")
    grid.add_row("stop", f"flambe-ans stop {name} {job.id}")
    return Group(render_job(job), Text(), grid)


def render_job(job: CommandJob, *, now: datetime | None = None) -> RenderableType:
    """Draw the state of a job in a line, the reason of a failure, and the last lines of its output, if it has them."""
    title = Text.assemble((job.id, "bold"), " ", (job.state, STYLES.get(job.state, "bold yellow")))
    title.append(f" after {_duration(job, now)}" if job.until else "")
    reason = [Text(f"  {job.reason}")] if job.reason and not job.succeeded else []
    return Group(title, *reason, *(Text(f"  | {line}") for line in job.tail))


def render_active(jobs: Sequence[CommandJob]) -> RenderableType:
    """Draw the active jobs in one line."""
    if not jobs:
        return Text("Jobs: none is active")
    line = Text("Jobs: ")
    for index, job in enumerate(jobs):
        line.append(", " if index else "")
        line.append_text(Text.assemble((job.id, "bold"), " ", (job.state, STYLES.get(job.state, ""))))
    return line


def render_jobs(found: CommandJobs, *, now: datetime | None = None) -> RenderableType:
    """Draw all jobs, the newest first, and Ray's other ones."""
    lines: list[RenderableType] = []
    if found.jobs:
        table = make_table("job", "state", "started (UTC)", "time", "by", "command")
        for job in found.jobs:
            state = Text(job.state, style=STYLES.get(job.state, "bold yellow"))
            command = Text(shlex.join(job.command))
            if job.reason and not job.succeeded:
                command.append(f"\n{job.reason}", style="dim")
            started = job.since[:16].replace("T", " ")
            table.add_row(job.id, state, started, _duration(job, now), job.submitter, command)
        lines.append(table)
    else:
        lines.append(Text("No job was submitted yet."))
    if found.others:
        table = make_table("other jobs of Ray", "command")
        for other in found.others:
            table.add_row(other.id, " ".join(other.command))
        lines += [Text(), table]
    if found.error:
        lines += [Text(), Text(f"Ray's own list of jobs is unknown: {found.error}", style="yellow")]
    return Group(*lines)


def _duration(job: CommandJob, now: datetime | None) -> str:
    end = datetime.fromisoformat(job.until) if job.until else now or datetime.now(UTC)
    return format_seconds(max((end - datetime.fromisoformat(job.since)).total_seconds(), 0))
