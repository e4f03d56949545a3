"""Jobs that run commands: submitting and following them, and what is printed about them."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import rich_click as click

from flambe_ansible.cli.errors import NoAnswerError
from flambe_ansible.cli.following import JobLog
from flambe_ansible.cli.interrupts import interruptible
from flambe_ansible.cli.output import Output
from flambe_ansible.errors import CancelledError, RunError

if TYPE_CHECKING:
    from flambe_ansible.cluster.cluster import Cluster
    from flambe_ansible.jobs.command_state import CommandJob
    from flambe_ansible.jobs.workdir import WorkingFolder

TAIL = 20  # lines of output that are shown of a failed job
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def submit_command(
    output: Output,
    cluster: Cluster,
    command: Sequence[str],
    *,
    follow: bool,
    workdir: str,
    env: Sequence[str],
    name: str,
    results: str,
    allow_large: bool,
) -> int:
    """Submit a command, with ``follow`` stream its output until it ends; return the exit code."""
    from flambe_ansible.cli.render.commands import render_submitted
    from flambe_ansible.jobs import workdir as folders

    variables = read_variables(env)
    cluster.check_command_jobs()
    folder = folders.scan(workdir)
    if not allow_large:
        confirm_size(output, folder)
    job = cluster.jobs.submit(command, workdir=folder, env=variables, name=name, results=results, allow_large=True)
    output.console.print(render_submitted(job, file=output.cluster_file))
    if follow:
        output.say()
        job = follow_job(output, cluster, job.id)
    if output.json:
        output.write_document({"job": job.to_dict()})
    return find_exit_code(job) if follow else 0


def follow_job(output: Output, cluster: Cluster, job: str, *, offset: int = 0) -> CommandJob:
    """Stream the output of a job until it ends, and print how it ended. Ctrl-C ends the output, not the job."""
    from flambe_ansible.cli.render.commands import render_job

    try:
        with interruptible():
            JobLog(output, cluster, job, offset=offset, to=output.console.file).show(follow=True)
    except KeyboardInterrupt:
        raise CancelledError(
            f"no longer following {job}; the job keeps running",
            hint=f"flambe-ans logs CLUSTER {job} --follow   # follow it again\n"
            f"flambe-ans stop CLUSTER {job}   # stop it",
        ) from None
    found = cluster.jobs.get(job)
    output.console.print(render_job(found))
    return found


def find_exit_code(job: CommandJob) -> int:
    """Return the exit code of a job's command, or that of a failed job if it is unknown."""
    if job.exit_code is None:
        return 0 if job.succeeded else RunError.exit_code
    return job.exit_code


def read_variables(given: Iterable[str]) -> dict[str, str]:
    """Read environment variables, ``NAME=VALUE``, or ``NAME`` for the value that it has here."""
    found = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not _VARIABLE.fullmatch(name):
            raise click.UsageError(f"--env: {name!r} is not the name of an environment variable")
        if not equals and name not in os.environ:
            raise click.UsageError(f"--env {name}: the variable is not set here; give a value: --env {name}=VALUE")
        found[name] = value if equals else os.environ[name]
    return found


def confirm_size(output: Output, folder: WorkingFolder) -> None:
    """Ask before a very large folder is sent."""
    from flambe_ansible.jobs.workdir import TOO_LARGE, format_size

    if folder.size <= TOO_LARGE:
        return
    hint = f"list what the job does not need in {shlex.quote(str(folder.path / '.rayignore'))}, or add --allow-large"
    question = f"{folder.describe()}. Send more than {format_size(TOO_LARGE)}?"
    if not output.can_ask:
        raise NoAnswerError(f"{question} There is no terminal for the answer; nothing was sent", hint=hint)
    if not output.ask(question):
        raise CancelledError("cancelled; nothing was sent", hint=hint)
