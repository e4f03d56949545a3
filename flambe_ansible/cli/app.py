"""The command ``flambe-ans``: its options and the list of its commands."""

from __future__ import annotations

import rich_click as click

from flambe_ansible import __version__
from flambe_ansible.cli.commands.audit import audit
from flambe_ansible.cli.commands.bake import bake
from flambe_ansible.cli.commands.completion import completion
from flambe_ansible.cli.commands.doctor import doctor
from flambe_ansible.cli.commands.down import down
from flambe_ansible.cli.commands.exec import execute
from flambe_ansible.cli.commands.init import init
from flambe_ansible.cli.commands.inventory import inventory
from flambe_ansible.cli.commands.jobs import jobs
from flambe_ansible.cli.commands.keep import keep
from flambe_ansible.cli.commands.lab import lab
from flambe_ansible.cli.commands.launch import launch
from flambe_ansible.cli.commands.logs import logs
from flambe_ansible.cli.commands.open import open_sites
from flambe_ansible.cli.commands.plan import plan
from flambe_ansible.cli.commands.pull import pull
from flambe_ansible.cli.commands.resize import remove, resize
from flambe_ansible.cli.commands.run import run
from flambe_ansible.cli.commands.schema import schema
from flambe_ansible.cli.commands.ssh import ssh
from flambe_ansible.cli.commands.ssh_config import ssh_config
from flambe_ansible.cli.commands.status import status
from flambe_ansible.cli.commands.stop import stop
from flambe_ansible.cli.commands.submit import submit
from flambe_ansible.cli.commands.suspend import resume, suspend
from flambe_ansible.cli.commands.tunnel import tunnel
from flambe_ansible.cli.options import CONTEXT, debug_option, write_examples

click.rich_click.MAX_WIDTH = 100
click.rich_click.TEXT_PARAGRAPH_LINEBREAKS = "\n\n"
click.rich_click.COMMAND_GROUPS = {
    "flambe-ans": [
        {
            "name": "Clusters",
            "commands": [
                "init",
                "doctor",
                "plan",
                "launch",
                "status",
                "ssh",
                "exec",
                "keep",
                "inventory",
                "ssh-config",
                "down",
                "audit",
                "bake",
            ],
        },
        {"name": "Cluster size", "commands": ["resize", "remove", "suspend", "resume"]},
        {"name": "Jobs", "commands": ["submit", "run", "jobs", "logs", "open", "tunnel", "pull", "stop"]},
        {"name": "Lab: EC2 on this machine", "commands": ["lab"]},
        {"name": "This machine", "commands": ["schema", "completion"]},
    ]
}


@click.group(
    context_settings=CONTEXT,
    epilog=write_examples(
        "sudo flambe-ans lab up",
        "flambe-ans launch examples/lab.yaml",
        "flambe-ans status examples/lab.yaml",
        "flambe-ans exec examples/lab.yaml -- uptime",
        "flambe-ans submit examples/experiment.yaml --cluster examples/lab.yaml",
        "flambe-ans down examples/lab.yaml",
    ),
)
@click.version_option(__version__, "--version", prog_name="flambe-ans")
@debug_option
def app() -> None:
    """Create, use and terminate Ray clusters: on AWS, on existing hosts, or in a lab on this machine.

    CLUSTER is a YAML file that describes one orchestrator (the Ray head node) and any number of factories (worker
    nodes). `launch` creates or updates the cluster, `submit` runs a job on it, `down` terminates it.

    \b
    Exit codes:
      0  success             5  SSH or host      10  extension or resource missing
      1  internal error      6  playbook         11  job refused or failed
      2  usage               7  Ray             130  cancelled
      3  configuration       8  lab
      4  AWS                 9  cluster or host not found
     12  left behind (audit)
    """  # noqa: D301 - click reads the character


COMMANDS = (
    init, doctor, plan, launch, status, ssh, execute, keep, inventory, ssh_config, down, audit, bake,
    resize, remove, suspend, resume,
    submit, run, jobs, logs, open_sites, tunnel, pull, stop, lab, schema, completion,
)  # fmt: skip
for command in COMMANDS:
    app.add_command(command)
