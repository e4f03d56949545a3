"""``flambe-ans stop``: end the run, not the hosts."""

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
    """End what runs on a cluster; its hosts stay, and are ready for the next run when this command ends.

    What the run has written stays, too. Where nothing runs, nothing happens.
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
        output.say(f"{after.name} is {after.state}; the hosts are ready for the next run.")
    else:
        output.say(f"Nothing was running; {after.name} {after.state} at {after.until}.")
