"""``flambe-ans status``: the state of a cluster."""

from __future__ import annotations

import rich_click as click

from flambe_ansible.cli import options
from flambe_ansible.cli.output import Output
from flambe_ansible.events import Notice


@options.command("flambe-ans status cluster.yaml", "flambe-ans status cluster.yaml --json | jq -r .state")
@options.cluster_argument
@options.json_option
@click.pass_obj
def status(output: Output, file: str) -> None:
    """Show the state of a cluster: its hosts, Ray and the last job.

    The state is absent, pending, provisioning, running, degraded, stopped or terminating. The exit code is 0 in every
    state; scripts read the state with --json.
    """
    from flambe_ansible.cli.render.status import render_status

    with options.open_cluster(output, file, connect=True) as cluster:
        found = cluster.status()
    for note in found.location.notes:
        output.show_notice(Notice(message=note, warning=True))
    for note in found.notes:
        output.show_notice(Notice(message=note))
    if output.json:
        output.write_document(found.to_dict())
    else:
        output.console.print(render_status(found))
