"""``flambe-ans stop``: stop the running job."""

from __future__ import annotations

import rich_click as click

from flambe_ansible.cli.options import CONTEXT, cluster_argument, debug_option, examples, json_option, load
from flambe_ansible.cli.output import Output


@click.command(context_settings=CONTEXT, epilog=examples("flambe-ans stop cluster.yaml"))
@cluster_argument
@json_option
@debug_option
@click.pass_obj
def stop(output: Output, file: str) -> None:
    """Stop the running job. The hosts and the results are kept.

    The command returns when the hosts are ready for the next job. If no job is running, nothing changes.
    """
    cluster = load(output, file)
    try:
        before = cluster.attach_job()
        after = cluster.shutdown_flambe_execution()
    finally:
        cluster.close()
    if output.json:
        output.write_document({"stopped": before.active, "run": after.to_dict()})
    elif before.active:
        output.say(f"{after.name} is {after.state}; the hosts are ready for the next job.")
    else:
        output.say(f"No job was running; the last one, {after.name}, {after.state} at {after.until}.")
