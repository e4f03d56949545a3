"""``flambe-ans down``: terminate a cluster."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

import rich_click as click

from flambe_ansible.cli import options
from flambe_ansible.cli.completing import complete_yaml
from flambe_ansible.cli.output import Output
from flambe_ansible.cli.render.words import count, label_host
from flambe_ansible.events import Notice
from flambe_ansible.hosts import Host

if TYPE_CHECKING:
    from flambe_ansible.cluster.cluster import Cluster


@options.command(
    "flambe-ans down cluster.yaml",
    "flambe-ans down cluster.yaml --yes",
    "flambe-ans down --name demo --region us-east-1",
    "flambe-ans down --name demo --lab",
)
@click.argument(
    "file", metavar="[CLUSTER]", required=False, type=click.Path(path_type=str), shell_complete=complete_yaml
)
@options.yes_option
@click.option("--name", metavar="NAME", help="Terminate the cluster NAME without its file.")
@click.option("--region", metavar="REGION", help="With --name: its region. Default: the configured one.")
@options.lab_option
@click.option("--creator", metavar="CREATOR", help="With --name: its creator, if several have a cluster NAME.")
@options.wait_option
@options.json_option
@click.pass_obj
def down(
    output: Output,
    file: str | None,
    yes: bool,
    name: str | None,
    region: str | None,
    lab: str | None,
    creator: str | None,
    wait: float | None,
) -> None:
    """Terminate all hosts of a cluster and delete their alarms.

    Hosts are found by the cluster's tags, in any state. The command waits until all of them are terminated. A security
    group and a key pair that were made for the cluster are deleted too. A cluster without hosts is not an error.

    With --name instead of CLUSTER, the file is not needed: it is lost, or it does not load any more. `audit` lists the
    clusters of a region.
    """
    _check_usage(file, name, {"--region": region, "--lab": lab, "--creator": creator})
    output.next_command = output.command
    if file:
        with _open_file(output, file, wait) as cluster:
            _terminate(output, cluster, yes=yes)
        return
    from flambe_ansible.cluster.without_file import find_cluster

    found = find_cluster(str(name), region=region, lab=lab, creator=creator)
    if found is None:
        _report(output, str(name), [])
        return
    with options.hold_open(output, found, wait=wait) as cluster:
        _terminate(output, cluster, yes=yes)


def _check_usage(file: str | None, name: str | None, places: dict[str, str | None]) -> None:
    if (file is None) == (name is None):
        raise click.UsageError("give either CLUSTER, or --name with --region or --lab")
    given = [option for option, value in places.items() if value is not None]
    if file and given:
        raise click.UsageError(f"{given[0]} needs --name; the file has its own")
    if places["--region"] and places["--lab"]:
        raise click.UsageError("give either --region or --lab")


@contextmanager
def _open_file(output: Output, file: str, wait: float | None) -> Iterator[Cluster]:
    """Open the cluster of a file; the hint for a file that does not load is the command that does not need it."""
    from flambe_ansible.errors import ClusterConfigurationError

    with ExitStack() as stack:
        try:
            cluster = stack.enter_context(options.open_cluster(output, file, wait=wait))
        except ClusterConfigurationError as error:
            from flambe_ansible.cluster.without_file import write_hint

            error.hint = write_hint(file) or error.hint
            raise
        yield cluster


def _terminate(output: Output, cluster: Cluster, *, yes: bool) -> None:
    """Show the hosts, ask, and terminate the cluster."""
    from flambe_ansible.cli.interrupts import interruptible
    from flambe_ansible.cli.launching import require_yes

    hosts = cluster.check_termination()
    location = cluster.location()
    for note in location.notes:
        output.show_notice(Notice(message=note, warning=True))
    if str(location):
        output.say(f"{cluster.name} in {location}:")
    for host in hosts:
        about = " ".join(filter(None, (host.instance_id, host.instance_type, str(host.state), host.private_ip)))
        output.say(f"  {label_host(host):<14}{about}")
    if hosts and not yes:
        question = f"Terminate {count(len(hosts), 'host')} of {cluster.name} and delete all data on them?"
        require_yes(output, question, "nothing was terminated")
    with interruptible(), cluster.reserve("down") as reservation:
        if reservation.unanswered:
            message = f"{reservation.unanswered}; so it is unknown whether another user works on the cluster"
            output.show_notice(Notice(message=message, warning=True))
        ended = cluster.terminate_instances()
    _report(output, cluster.name, ended)


def _report(output: Output, name: str, ended: list[Host]) -> None:
    if ended:
        output.say(f"{name}: terminated {count(len(ended), 'host')} and deleted their alarms.")
    else:
        output.say(f"{name}: there are no hosts.")
    if output.json:
        names = [host.name for host in ended]
        output.write_document({"name": name, "state": "absent", "terminated": names})
