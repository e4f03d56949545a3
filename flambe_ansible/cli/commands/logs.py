"""``flambe-ans logs``: the log of the last job."""

from __future__ import annotations

import rich_click as click

from flambe_ansible.cli import options
from flambe_ansible.cli.output import Output


@options.command("flambe-ans logs cluster.yaml", "flambe-ans logs cluster.yaml --follow")
@options.cluster_argument
@click.option("-f", "--follow", is_flag=True, help="Stream new lines until the job ends.")
@click.option("-n", "--lines", metavar="N", type=click.IntRange(min=1), help="Print only the last N lines.")
@click.pass_obj
def logs(output: Output, file: str, follow: bool, lines: int | None) -> None:
    """Print the log of the last job.

    It works from any machine with access to the cluster. With --follow, Ctrl-C ends the output, not the job.
    """
    from flambe_ansible.cli.remote import show_log

    output.next_command = output.command
    with options.open_cluster(output, file) as cluster:
        cluster.attach_job()
        show_log(cluster, follow=follow, lines=lines or 0)
