"""``flambe-ans open``: the sites of a cluster through a tunnel."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import rich_click as click

from flambe_ansible.cli import options
from flambe_ansible.cli.forwarding import forward, port_option
from flambe_ansible.cli.output import Output

if TYPE_CHECKING:
    from flambe_ansible.cluster.cluster import Cluster
    from flambe_ansible.jobs.sites import Sites
    from flambe_ansible.jobs.tunnels import Tunnels

TOKEN_FILE = "ray-token"  # noqa: S105 - a file's name, in the cluster's state folder


@options.command(
    "flambe-ans open cluster.yaml",
    "flambe-ans open cluster.yaml --json | jq -r .tensorboard",
    "flambe-ans open cluster.yaml --port 8080",
    name="open",
)
@options.cluster_argument
@port_option
@options.json_option
@click.pass_obj
def open_sites(output: Output, file: str, ports: tuple[int, ...]) -> None:
    """Open a tunnel to the sites of a cluster.

    With `runtime: flambe`, these are the report site and TensorBoard of the last job; with `runtime: ray`, Ray's
    dashboard and TensorBoard. The tunnel stays open until Ctrl-C. The local ports are 49558 and 49556, 8265 for Ray's
    dashboard, or free ones if these are in use. A ClusterRunnable has no report site, and has TensorBoard only if its
    class sets `results`.

    Ray's dashboard asks for the cluster's token; the command prints the path of a file with it.

    With `expose_sites: true` in the cluster's file, the public addresses are printed and no tunnel is opened; with
    `runtime: ray`, Ray's dashboard still is behind the tunnel.

    With --port, it opens a tunnel to the sites on these ports of the orchestrator instead, such as those of containers.

    With --json or without a terminal, the addresses are printed and the tunnel stays open until SIGINT or SIGTERM.
    """
    try:
        with options.open_cluster(output, file, connect=True) as cluster:
            if ports:
                forward(output, cluster, ports, url="http://127.0.0.1:{}/")
            elif cluster.runs_commands:
                _open_dashboards(output, cluster)
            else:
                _open_sites(output, cluster)
    except KeyboardInterrupt:
        output.say()


def _open_sites(output: Output, cluster: Cluster) -> None:
    """Show the sites of the last job."""
    from flambe_ansible.cli.interrupts import interruptible
    from flambe_ansible.jobs.sites import find_public_sites, list_units, make_local_sites, require_results
    from flambe_ansible.jobs.tunnels import Tunnels

    run = cluster.attach_job()
    require_results(run)
    if cluster.expose_sites:
        _show(output, find_public_sites(cluster.fleet.head, run))
        return
    with interruptible(), Tunnels(cluster.fleet, list_units(run)) as tunnels:
        _show(output, make_local_sites(tunnels.ports))
        _keep(output, tunnels)


def _open_dashboards(output: Output, cluster: Cluster) -> None:
    """Show Ray's dashboard and TensorBoard."""
    from flambe_ansible.cli.interrupts import interruptible
    from flambe_ansible.cli.render.run import render_dashboards
    from flambe_ansible.jobs.sites import list_command_units, make_dashboards
    from flambe_ansible.jobs.tunnels import Tunnels

    jobs = cluster.jobs
    token = cluster.state_dir / TOKEN_FILE
    has_token = jobs.fetch_token(token)
    exposed = cluster.fleet.head if cluster.expose_sites else None
    with interruptible(), Tunnels(cluster.fleet, list_command_units(jobs.runner)) as tunnels:
        path = str(token) if has_token else ""
        found = make_dashboards(jobs.runner, tunnels.ports, token=path, exposed=exposed)
        if output.json:
            output.write_document(asdict(found))
        else:
            output.console.print(render_dashboards(found))
        _keep(output, tunnels)


def _show(output: Output, sites: Sites) -> None:
    from flambe_ansible.cli.render.run import render_sites

    if output.json:
        output.write_document(asdict(sites))
    else:
        output.console.print(render_sites(sites))


def _keep(output: Output, tunnels: Tunnels) -> None:
    if not output.json:
        output.say()
        output.say("Press Ctrl-C to close the tunnel; the sites keep running.", style="dim")
    tunnels.keep()
