"""``flambe-ans jobs``: the jobs of a cluster."""

from __future__ import annotations

import rich_click as click

from flambe_ansible.cli import options
from flambe_ansible.cli.output import Output


@options.command("flambe-ans jobs cluster.yaml", "flambe-ans jobs cluster.yaml --json | jq -r '.jobs[0].state'")
@options.cluster_argument
@options.json_option
@click.pass_obj
def jobs(output: Output, file: str) -> None:
    """List the jobs of a cluster with `runtime: ray`, the newest first.

    The list includes jobs of before a restart of Ray or of the orchestrator. Active jobs that were started with Ray's
    own tools are listed separately.
    """
    from flambe_ansible.cli.render.commands import render_jobs

    with options.open_cluster(output, file, connect=True) as cluster:
        found = cluster.jobs.list()
    if output.json:
        output.write_document(found.to_dict())
    else:
        output.console.print(render_jobs(found))
