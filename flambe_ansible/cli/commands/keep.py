"""``flambe-ans keep``: postpone the automatic shutdown of a cluster."""

from __future__ import annotations

import rich_click as click

from flambe_ansible.cli import options
from flambe_ansible.cli.durations import read_duration
from flambe_ansible.cli.output import Output


@options.command("flambe-ans keep cluster.yaml 2h", "flambe-ans keep cluster.yaml 0m")
@options.cluster_argument
@click.argument("duration", metavar="DURATION")
@options.json_option
@click.pass_obj
def keep(output: Output, file: str, duration: str) -> None:
    """Postpone the automatic shutdown: no host ends itself before DURATION has passed.

    DURATION is a number with m, h or d, such as 30m, 2h or 1d, at most 7d. It counts from now and replaces an earlier
    one; 0m ends the postponement. A host that is idle for long enough by then ends at that time.
    """
    from flambe_ansible.cli.render.idle import render_idle

    seconds = read_duration(duration)
    with options.open_cluster(output, file, connect=True) as cluster:
        states = cluster.keep(seconds)
        hosts = cluster.hosts
    if output.json:
        output.write_document({name: state.to_dict() for name, state in states.items()})
    else:
        output.console.print(render_idle(hosts, states))
