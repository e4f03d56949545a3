"""``flambe-ans open``: the sites of the last job through a tunnel."""

from __future__ import annotations

from dataclasses import asdict

import rich_click as click

from flambe_ansible.cli import options
from flambe_ansible.cli.output import Output


@options.command(
    "flambe-ans open cluster.yaml", "flambe-ans open cluster.yaml --json | jq -r .report_site", name="open"
)
@options.cluster_argument
@options.json_option
@click.pass_obj
def open_sites(output: Output, file: str) -> None:
    """Open a tunnel to the report site and TensorBoard of the last job.

    It stays open until Ctrl-C. The local ports are 49558 and 49556, or free ones if these are in use. A ClusterRunnable
    has no report site, and has TensorBoard only if its class sets `results`.

    With `expose_sites: true` in the cluster's file, the public addresses are printed and no tunnel is opened.

    With --json or without a terminal, the addresses are printed and the tunnel stays open until SIGINT or SIGTERM.
    """
    from flambe_ansible.cli.interrupts import interruptible
    from flambe_ansible.cli.render.run import render_sites
    from flambe_ansible.jobs.sites import Sites, find_public_sites, require_results
    from flambe_ansible.jobs.tunnels import Tunnels

    def show(sites: Sites) -> None:
        if output.json:
            output.write_document(asdict(sites))
        else:
            output.console.print(render_sites(sites))

    try:
        with options.open_cluster(output, file) as cluster:
            run = cluster.attach_job()
            require_results(run)
            if cluster.expose_sites:
                show(find_public_sites(cluster.fleet.head, run))
                return
            with interruptible(), Tunnels(cluster.fleet, run) as tunnels:
                show(tunnels.sites)
                if not output.json:
                    output.say()
                    output.say("Press Ctrl-C to close the tunnel; the sites keep running.", style="dim")
                tunnels.keep()
    except KeyboardInterrupt:
        output.say()
