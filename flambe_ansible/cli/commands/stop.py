"""``flambe-ans stop``: stop the running job."""

from __future__ import annotations

import rich_click as click

from flambe_ansible.cli import options
from flambe_ansible.cli.output import Output


@options.command("flambe-ans stop cluster.yaml")
@options.cluster_argument
@options.json_option
@click.pass_obj
def stop(output: Output, file: str) -> None:
    """Stop the running job. The hosts and the results are kept.

    The command returns when the hosts are ready for the next job. If no job is running, nothing changes.
    """
    with options.open_cluster(output, file) as cluster:
        before = cluster.attach_job()
        after = cluster.shutdown_flambe_execution()
    if output.json:
        output.write_document({"stopped": before.active, "run": after.to_dict()})
    elif before.active:
        output.say(f"{after.name} is {after.state}; the hosts are ready for the next job.")
    else:
        output.say(f"No job was running; the last one, {after.name}, {after.state} at {after.until}.")
