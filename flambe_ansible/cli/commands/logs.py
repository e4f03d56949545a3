"""``flambe-ans logs``: what the last run printed."""

from __future__ import annotations

import rich_click as click

from flambe_ansible.cli.options import CONTEXT, cluster_argument, debug_option, examples, load
from flambe_ansible.cli.output import Output


@click.command(
    context_settings=CONTEXT,
    epilog=examples("flambe-ans logs cluster.yaml", "flambe-ans logs cluster.yaml --follow"),
)
@cluster_argument
@click.option("-f", "--follow", is_flag=True, help="Go on until the run has ended.")
@click.option("-n", "--lines", type=click.IntRange(min=1), help="Only the last ones.")
@debug_option
@click.pass_obj
def logs(output: Output, file: str, follow: bool, lines: int | None) -> None:
    """Print what the last run printed, from any machine that reaches the cluster.

    With --follow, Ctrl-C ends the following, not the run.
    """
    from flambe_ansible.cli.following import show_log

    cluster = load(output, file)
    try:
        cluster.attach_job()
        show_log(cluster, follow=follow, lines=lines or 0)
    finally:
        cluster.close()
