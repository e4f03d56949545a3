"""``flambe-ans suspend`` and ``resume``: stop the hosts of a cluster and keep their disks, and start them again."""

from __future__ import annotations

from typing import TYPE_CHECKING

import rich_click as click

from flambe_ansible.cli import options
from flambe_ansible.cli.output import Output
from flambe_ansible.cli.render.words import count
from flambe_ansible.hosts import HostState, Role

if TYPE_CHECKING:
    from flambe_ansible.cluster.cluster import Cluster


@options.command("flambe-ans suspend cluster.yaml", "flambe-ans suspend cluster.yaml --yes --force")
@options.cluster_argument
@options.yes_option
@click.option("-f", "--force", is_flag=True, help="Suspend although a job runs, or data on instance stores is lost.")
@options.wait_option
@options.json_option
@click.pass_obj
def suspend(output: Output, file: str, yes: bool, force: bool, wait: float | None) -> None:
    """Stop all hosts of a cluster and keep their disks.

    Stopped hosts cost nothing but their disks. `resume` starts them again with the same private addresses; public ones
    change. Their alarms are deleted meanwhile, and nothing terminates them.

    If a job runs, the command fails and changes nothing. Spot Instances cannot be stopped.
    """
    from flambe_ansible.cli.interrupts import interruptible
    from flambe_ansible.cli.launching import require_yes
    from flambe_ansible.cli.progress import Progress

    output.next_command = output.command
    with options.open_cluster(output, file, wait=wait) as cluster:
        hosts = cluster.check_suspension(force=force)
        running = [host for host in hosts if host.state is not HostState.STOPPED]
        if running and not yes:
            require_yes(output, f"Stop {count(len(running), 'host')} of {cluster.name}?", "nothing was stopped")
        progress = Progress(output, cluster=cluster.name, hosts=[host.name for host in hosts])
        cluster.observer = progress
        with interruptible(), progress:
            cluster.suspend(force=force)
    output.say(f"{cluster.name} is suspended: {count(len(hosts), 'host')} stopped, disks kept.")
    if output.json:
        output.write_document({"name": cluster.name, "state": "suspended", "stopped": [host.name for host in running]})


@options.command("flambe-ans resume cluster.yaml", "flambe-ans resume cluster.yaml --yes --json")
@options.cluster_argument
@options.yes_option
@options.wait_option
@options.json_option
@click.pass_context
def resume(ctx: click.Context, file: str, yes: bool, wait: float | None) -> None:
    """Start the stopped hosts of a cluster, and bring them to their state.

    As `launch`, but no host is created: hosts that are missing stay missing.
    """
    from flambe_ansible.cli.launching import launch_existing

    output: Output = ctx.obj
    output.next_command = output.command
    with options.open_cluster(output, file, wait=wait) as cluster:
        cluster.check_management()
        cluster.keep_factories(_count_factories(cluster))
        code = launch_existing(output, file, cluster, yes=yes)
    ctx.exit(code)


def _count_factories(cluster: Cluster) -> int:
    """Count the existing factories; refuse a cluster without orchestrator or factories."""
    from flambe_ansible.errors import ClusterNotFoundError
    from flambe_ansible.hosts import LIVE_STATES

    roles = [host.role for host in cluster.find_hosts() if host.state in LIVE_STATES]
    if set(roles) != set(Role):
        missing = "orchestrator" if Role.ORCHESTRATOR not in roles else "factory"
        message = (
            f"cluster {cluster.name} has no {missing}" if roles else f"there are no hosts of cluster {cluster.name}"
        )
        raise ClusterNotFoundError(message, hint="flambe-ans launch CLUSTER")
    return roles.count(Role.FACTORY)
