"""``flambe-ans exec``: a command on several hosts at once."""

from __future__ import annotations

import rich_click as click

from flambe_ansible.cli import options
from flambe_ansible.cli.fanout import AT_ONCE, Result, run_everywhere
from flambe_ansible.cli.output import Output
from flambe_ansible.errors import ClusterNotFoundError
from flambe_ansible.events import Notice
from flambe_ansible.hosts import HostState, Role

UNREACHABLE = 255
GROUPS = {"orchestrator": (Role.ORCHESTRATOR,), "factories": (Role.FACTORY,), "all": tuple(Role)}


@options.command(
    "flambe-ans exec cluster.yaml -- uptime",
    "flambe-ans exec cluster.yaml --on factories -- nvidia-smi -L",
    "flambe-ans exec cluster.yaml -- 'df -h / | tail -1'",
    name="exec",
    cls=options.RequiredTailCommand,
)
@options.cluster_argument
@click.option(
    "--on", "group", type=click.Choice(list(GROUPS)), default="all", show_default=True, help="The hosts to run on."
)
@click.option(
    "--at-once",
    metavar="N",
    type=options.WholeNumber(min=1),
    default=AT_ONCE,
    show_default=True,
    help="How many hosts run it at the same time.",
)
@options.json_option
@click.pass_context
def execute(ctx: click.Context, file: str, group: str, at_once: int) -> None:
    """Run a command on several hosts at once.

    Each line of output starts with the name of its host. The exit code is the highest of all hosts; a host that does
    not answer counts as 255, as with ssh. Ctrl-C ends the command on the hosts too.

    A single word after -- is a command line for the hosts' shell; several words are quoted and arrive unchanged.
    """
    command = options.find_tail(ctx)
    if not command:
        raise click.UsageError("no command; write it after `--`, for example: flambe-ans exec cluster.yaml -- uptime")
    output: Output = ctx.obj
    with options.open_cluster(output, file, connect=True) as cluster:
        running = [host for host in cluster.find_hosts() if host.state is HostState.RUNNING]
        hosts = [host for host in running if host.role in GROUPS[group]]
        if not hosts:
            wanted = {"all": "host", "factories": "factory"}.get(group, group)
            raise ClusterNotFoundError(
                f"no {wanted} of cluster {cluster.name} is running", hint="flambe-ans launch CLUSTER"
            )
        errors = cluster.attach_each(hosts)
        for error in errors.values():
            output.show_notice(Notice(message=error.message, warning=True))
        argvs = {host.name: cluster.connections.shared_argv(host) for host in hosts if host.name not in errors}
        results = run_everywhere(argvs, command, cluster=cluster.name, output=output, at_once=at_once)
    for name, error in errors.items():
        results[name] = Result(returncode=UNREACHABLE, stderr=error.message)
    if output.json:
        output.write_document({name: vars(result) for name, result in results.items()})
    ctx.exit(max(result.returncode for result in results.values()))
