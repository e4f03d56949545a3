"""``flambe-ans resize`` and ``remove``: add factories to a cluster, and remove some of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import rich_click as click

from flambe_ansible.cli import options
from flambe_ansible.cli.completing import complete_factory
from flambe_ansible.cli.output import Output
from flambe_ansible.cli.render.words import label_host, list_hosts
from flambe_ansible.events import Notice
from flambe_ansible.hosts import LIVE_STATES, Host, Role

if TYPE_CHECKING:
    from flambe_ansible.cluster.cluster import Cluster

force_option = click.option(
    "-f", "--force", is_flag=True, help="End what runs on removed factories after the time-out."
)
timeout_option = click.option(
    "--timeout", type=options.Number(1, 86_400), default=300.0, show_default=True, metavar="SECONDS",
    help="Time for tasks on removed factories to end.",
)  # fmt: skip


@options.command("flambe-ans resize cluster.yaml 4", "flambe-ans resize cluster.yaml 2 --yes --timeout 600")
@options.cluster_argument
@click.argument("number", metavar="N", type=options.WholeNumber(1, 1000))
@options.yes_option
@force_option
@timeout_option
@options.wait_option
@options.json_option
@click.pass_context
def resize(
    ctx: click.Context, file: str, number: int, yes: bool, force: bool, timeout: float, wait: float | None
) -> None:
    """Add or remove factories until the cluster has N of them.

    Factories are added as by `launch`; those with the highest numbers are removed as by `remove`. The file is not
    edited: a later launch creates missing factories up to its factories_num, and removes none.
    """
    from flambe_ansible.cli.launching import launch_existing

    output: Output = ctx.obj
    output.next_command = output.command
    with options.open_cluster(output, file, wait=wait) as cluster:
        cluster.check_management()
        configured, factories = cluster.factories_num, _list_factories(cluster)
        if number < len(factories):
            code = _remove(output, file, cluster, factories[number:], yes=yes, force=force, timeout=timeout)
        else:
            cluster.keep_factories(number)
            code = launch_existing(output, file, cluster, yes=yes)
    _note_difference(output, number, configured)
    ctx.exit(code)


@options.command("flambe-ans remove cluster.yaml factory 3", "flambe-ans remove cluster.yaml 3 --yes --force")
@options.cluster_argument
@click.argument("host", metavar="HOST...", nargs=-1, required=True, shell_complete=complete_factory)
@options.yes_option
@force_option
@timeout_option
@options.wait_option
@options.json_option
@click.pass_context
def remove(
    ctx: click.Context, file: str, host: tuple[str, ...], yes: bool, force: bool, timeout: float, wait: float | None
) -> None:
    """Remove one factory: HOST is `factory 3`, its full name, or its number.

    With `runtime: ray` its node accepts no new tasks; when those on it have ended, Ray is stopped there and the host is
    terminated. If they have not ended in time, nothing is removed, except with --force. With `runtime: flambe` the
    command fails while a job runs.
    """
    output: Output = ctx.obj
    output.next_command = output.command
    with options.open_cluster(output, file, wait=wait) as cluster:
        cluster.check_management()
        configured, factories = cluster.factories_num, _list_factories(cluster)
        doomed = _pick(factories, host, cluster=cluster.name)
        code = _remove(output, file, cluster, [doomed], yes=yes, force=force, timeout=timeout)
    _note_difference(output, len(factories) - 1, configured)
    ctx.exit(code)


def _list_factories(cluster: Cluster) -> list[Host]:
    """List the existing factories by index."""
    from flambe_ansible.errors import ClusterNotFoundError

    hosts = [host for host in cluster.find_hosts() if host.state in LIVE_STATES]
    if not hosts:
        message = f"there are no hosts of cluster {cluster.name}; nothing was changed"
        raise ClusterNotFoundError(message, hint="flambe-ans launch CLUSTER")
    return sorted((host for host in hosts if host.role is Role.FACTORY), key=lambda host: host.index)


def _pick(factories: Sequence[Host], words: Sequence[str], *, cluster: str) -> Host:
    """Find a factory by its number or name."""
    from flambe_ansible.errors import ClusterConfigurationError, ClusterNotFoundError

    given = " ".join(words).strip()
    if given in ("orchestrator", f"{cluster}_orchestrator"):
        message = f"the orchestrator of {cluster} cannot be removed; nothing was changed"
        raise ClusterConfigurationError(message, hint="flambe-ans down CLUSTER terminates all hosts")
    for one in factories:
        if given in (one.name, label_host(one), str(one.index)):
            return one
    known = list_hosts([*map(label_host, factories)]) or "none"
    message = f"cluster {cluster} has no host {given!r}; its factories: {known}; nothing was changed"
    raise ClusterNotFoundError(message, hint="flambe-ans status CLUSTER")


def _remove(
    output: Output, file: str, cluster: Cluster, doomed: Sequence[Host], *, yes: bool, force: bool, timeout: float
) -> int:
    """Ask, remove factories, and print the result."""
    from flambe_ansible.cli.launching import attempt, finish, report_failed, require_yes

    names = list_hosts([*map(label_host, doomed)])
    if not yes:
        it = "it" if len(doomed) == 1 else "them"
        require_yes(output, f"Remove {names} of {cluster.name} and delete all data on {it}?", "nothing was removed")
    hosts = [host.name for host in cluster.find_hosts()]
    result, progress = attempt(
        output,
        cluster,
        lambda: cluster.remove_hosts([host.name for host in doomed], force=force, timeout=timeout),
        hosts=hosts,
        on_failure="keep",
    )
    finish(output, file, result, progress, cluster, {"removed": [host.name for host in doomed]})
    output.say(f"Removed {names}.")
    return report_failed(output, result, cluster=cluster)


def _note_difference(output: Output, number: int, configured: int) -> None:
    """Say what the next launch does if the file has another number of factories."""
    if number == configured:
        return
    then = f"creates {configured - number} more" if number < configured else "keeps all of them"
    message = f"{output.cluster_file} still has factories_num: {configured}; the next launch {then}"
    output.show_notice(Notice(message=f"{message}; change the file to keep {number}"))
