"""``flambe-ans down``: end a cluster, and see to it that nothing of it is left."""

from __future__ import annotations

import shlex

import rich_click as click

from flambe_ansible.cli.options import CONTEXT, cluster_argument, debug_option, examples, json_option, load, yes_option
from flambe_ansible.cli.output import Output
from flambe_ansible.cli.render.words import count, label_host


@click.command(
    context_settings=CONTEXT,
    epilog=examples(
        "flambe-ans down cluster.yaml",
        "flambe-ans down cluster.yaml --yes",
    ),
)
@cluster_argument
@yes_option
@json_option
@debug_option
@click.pass_obj
def down(output: Output, file: str, yes: bool) -> None:
    """Terminate all hosts of a cluster, remove their alarms, and confirm that both are gone.

    Hosts are found by the cluster's tags, in every state. A cluster that does not exist is no error.
    """
    from flambe_ansible.cli.errors import NoAnswerError
    from flambe_ansible.cli.interrupts import interruptible
    from flambe_ansible.errors import CancelledError

    output.next_command = f"flambe-ans down {shlex.quote(file)}"
    cluster = load(output, file)
    try:
        cluster.check_termination()
        hosts = cluster.find_hosts()
        for host in hosts:
            about = " ".join(filter(None, (host.instance_id, host.instance_type, str(host.state), host.private_ip)))
            output.say(f"  {label_host(host):<14}{about}")
        if hosts and not yes:
            question = f"Terminate {count(len(hosts), 'host')} of {cluster.name}, with all data on them?"
            if not output.can_ask:
                raise NoAnswerError(question, "nothing was terminated")
            if not output.ask(question):
                output.next_command = ""
                raise CancelledError("cancelled; nothing was terminated")
        with interruptible():
            ended = cluster.terminate_instances()
    finally:
        cluster.close()
    if ended:
        output.say(f"{cluster.name}: {count(len(ended), 'host')} and the alarms are gone.")
    else:
        output.say(f"{cluster.name}: no host exists.")
    if output.json:
        names = [host.name for host in ended]
        output.write_document({"name": cluster.name, "state": "absent", "terminated": names})
