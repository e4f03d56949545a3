"""``flambe-ans open``: the sites of the last run through a tunnel."""

from __future__ import annotations

import rich_click as click

from flambe_ansible.cli.options import CONTEXT, cluster_argument, debug_option, examples, json_option, load
from flambe_ansible.cli.output import Output


@click.command(
    "open",
    context_settings=CONTEXT,
    epilog=examples("flambe-ans open cluster.yaml", "flambe-ans open cluster.yaml --json | jq -r .report_site"),
)
@cluster_argument
@json_option
@debug_option
@click.pass_obj
def open_sites(output: Output, file: str) -> None:
    """Bring the report site and TensorBoard of the last run to this machine, until Ctrl-C.

    A runnable of your own has no report site, and TensorBoard where its class names a folder of `results`.

    The ports here are those there, 49558 and 49556, or free ones where these are taken. With `expose_sites: true` there
    is no need for a tunnel: the addresses are printed, and the command ends.

    With --json, or without a terminal, it stays as well until it is ended (SIGINT, SIGTERM), once the addresses are
    printed.
    """
    from flambe_ansible.cli.interrupts import interruptible
    from flambe_ansible.cli.render.run import describe_sites, render_sites
    from flambe_ansible.jobs.sites import Sites, find_public_sites, require_results
    from flambe_ansible.jobs.tunnels import Tunnels

    cluster = load(output, file)

    def show(sites: Sites) -> None:
        if output.json:
            output.write_document(describe_sites(sites))
        else:
            output.console.print(render_sites(sites))

    try:
        run = cluster.attach_job()
        require_results(run)
        if cluster.expose_sites:
            show(find_public_sites(cluster.fleet.head, run))
            return
        with interruptible(), Tunnels(cluster.fleet, run) as tunnels:
            show(tunnels.sites)
            if not output.json:
                output.say("\nCtrl-C closes the tunnel; the sites go on.", style="dim")
            tunnels.keep()
    except KeyboardInterrupt:
        output.say()
    finally:
        cluster.close()
