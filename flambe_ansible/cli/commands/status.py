"""``flambe-ans status``: the state of a cluster."""

from __future__ import annotations

import rich_click as click

from flambe_ansible.cli.options import CONTEXT, cluster_argument, debug_option, examples, json_option, load
from flambe_ansible.cli.output import Output


@click.command(
    context_settings=CONTEXT,
    epilog=examples(
        "flambe-ans status cluster.yaml",
        "flambe-ans status cluster.yaml --json | jq -r .state",
    ),
)
@cluster_argument
@json_option
@debug_option
@click.pass_obj
def status(output: Output, file: str) -> None:
    """Show the state of a cluster: its hosts, Ray and the last job.

    The state is absent, pending, provisioning, running, degraded, stopped or terminating. The exit code is 0 in every
    state; scripts read the state with --json.
    """
    from flambe_ansible.cli.render.status import render_status

    cluster = load(output, file)
    try:
        found = cluster.status()
    finally:
        cluster.close()
    if output.json:
        output.write_document(found.to_dict())
    else:
        output.console.print(render_status(found))
