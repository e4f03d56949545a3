"""``flambe-ans down``: terminate a cluster."""

from __future__ import annotations

import rich_click as click

from flambe_ansible.cli import options
from flambe_ansible.cli.output import Output
from flambe_ansible.cli.render.words import count, label_host
from flambe_ansible.events import Notice


@options.command("flambe-ans down cluster.yaml", "flambe-ans down cluster.yaml --yes")
@options.cluster_argument
@options.yes_option
@options.json_option
@click.pass_obj
def down(output: Output, file: str, yes: bool) -> None:
    """Terminate all hosts of a cluster and delete their alarms.

    Hosts are found by the cluster's tags, in any state. The command waits until all of them are terminated. A security
    group and a key pair that were made for the cluster are deleted too. A cluster without hosts is not an error.
    """
    from flambe_ansible.cli.interrupts import interruptible
    from flambe_ansible.cli.launching import require_yes

    output.next_command = output.command
    with options.open_cluster(output, file) as cluster:
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
    if ended:
        output.say(f"{cluster.name}: terminated {count(len(ended), 'host')} and deleted their alarms.")
    else:
        output.say(f"{cluster.name}: there are no hosts.")
    if output.json:
        names = [host.name for host in ended]
        output.write_document({"name": cluster.name, "state": "absent", "terminated": names})
