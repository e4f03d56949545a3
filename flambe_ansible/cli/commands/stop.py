"""``flambe-ans stop``: stop a running job."""

from __future__ import annotations

from typing import TYPE_CHECKING

import rich_click as click

from flambe_ansible.cli import options
from flambe_ansible.cli.output import Output

if TYPE_CHECKING:
    from flambe_ansible.cluster.cluster import Cluster


@options.command("flambe-ans stop cluster.yaml", "flambe-ans stop cluster.yaml train")
@options.cluster_argument
@options.job_argument
@options.wait_option
@options.json_option
@click.pass_obj
def stop(output: Output, file: str, job: str, wait: float | None) -> None:
    """Stop the running job. The hosts and the results are kept.

    JOB is the id, the name or the beginning of the id of a job on a cluster with `runtime: ray`; it may be left out if
    only one is running.

    The command returns when the job has ended, with `runtime: flambe` when the hosts are ready for the next job. If no
    job is running, nothing changes.
    """
    with options.open_cluster(output, file, wait=wait, connect=True) as cluster:
        if cluster.runs_commands:
            _stop_command(output, cluster, job)
            return
        options.refuse_job(job)
        before = cluster.attach_job()
        after = cluster.shutdown_flambe_execution()
    if output.json:
        output.write_document({"stopped": before.active, "run": after.to_dict()})
    elif before.active:
        output.say(f"{after.name} is {after.state}; the hosts are ready for the next job.")
    else:
        output.say(f"No job was running; the last one, {after.name}, {after.state} at {after.until}.")


def _stop_command(output: Output, cluster: Cluster, job: str) -> None:
    """Stop the job of a command."""
    done = cluster.jobs.stop(job)
    if output.json:
        output.write_document({"stopped": done.stopped, "job": done.job.to_dict()})
    elif done.stopped:
        output.say(f"{done.job.id} is {done.job.state}.")
    else:
        output.say(f"{done.job.id} was not running; it {done.job.state} at {done.job.until}.")
