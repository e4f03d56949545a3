"""``flambe-ans logs``: the log of a job."""

from __future__ import annotations

from typing import TYPE_CHECKING

import rich_click as click

from flambe_ansible.cli import options
from flambe_ansible.cli.output import Output

if TYPE_CHECKING:
    from flambe_ansible.cluster.cluster import Cluster


@options.command("flambe-ans logs cluster.yaml", "flambe-ans logs cluster.yaml train --follow")
@options.cluster_argument
@options.job_argument
@click.option("-f", "--follow", is_flag=True, help="Stream new lines until the job ends.")
@click.option("-n", "--lines", metavar="N", type=options.WholeNumber(min=1), help="Print only the last N lines.")
@click.pass_context
def logs(ctx: click.Context, file: str, job: str, follow: bool, lines: int | None) -> None:
    """Print the log of a job; by default, of the last one.

    JOB is the id, the name or the beginning of the id of a job on a cluster with `runtime: ray`. Without --follow the
    exit code is 0, with it that of the job.

    It works from any machine with access to the cluster. With --follow, Ctrl-C ends the output, not the job.
    """
    from flambe_ansible.cli.remote import show_log

    output: Output = ctx.obj
    output.next_command = output.command
    with options.open_cluster(output, file, connect=True) as cluster:
        if cluster.runs_commands:
            ctx.exit(_show(output, cluster, job, follow=follow, lines=lines or 0))
        options.refuse_job(job)
        cluster.attach_job()
        show_log(cluster, follow=follow, lines=lines or 0)


def _show(output: Output, cluster: Cluster, job: str, *, follow: bool, lines: int) -> int:
    """Print the output of a command's job; return the exit code."""
    from flambe_ansible.cli.command_jobs import find_exit_code, follow_job
    from flambe_ansible.cli.following import JobLog

    found = cluster.jobs.get(job, lines=lines)
    if follow:
        return find_exit_code(follow_job(output, cluster, found.id, offset=found.offset))
    JobLog(output, cluster, found.id, offset=found.offset).show(follow=False)
    return 0
