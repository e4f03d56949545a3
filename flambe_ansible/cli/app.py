"""The command ``flambe-ans``: its options and the list of its commands."""

from __future__ import annotations

from importlib import import_module

import rich_click as click

from flambe_ansible import __version__
from flambe_ansible.cli.options import CONTEXT, CommandGroup, debug_option, write_examples

# The module of each command, and its function if that has another name. A command line imports only its own command.
COMMANDS = {
    "init": "init", "doctor": "doctor", "plan": "plan", "launch": "launch", "status": "status", "ssh": "ssh",
    "exec": "exec:execute", "keep": "keep", "inventory": "inventory", "ssh-config": "ssh_config", "down": "down",
    "audit": "audit", "bake": "bake",
    "resize": "resize", "remove": "resize:remove", "suspend": "suspend", "resume": "suspend:resume",
    "submit": "submit", "run": "run", "jobs": "jobs", "logs": "logs", "open": "open:open_sites", "tunnel": "tunnel",
    "pull": "pull", "stop": "stop", "lab": "lab", "schema": "schema", "completion": "completion",
}  # fmt: skip

# What these commands are called in Ray's cluster launcher, SkyPilot and Terraform.
OTHER_NAMES = {
    "up": "launch", "apply": "launch", "attach": "ssh", "destroy": "down", "terminate": "down", "delete": "down",
    "queue": "jobs", "cancel": "stop", "start": "resume", "dashboard": "open", "check": "doctor", "validate": "plan",
}  # fmt: skip

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


class Commands(CommandGroup):
    """A group that imports each command at its first use."""

    other_names = OTHER_NAMES

    def list_commands(self, ctx: click.Context) -> list[str]:
        """List the names of all commands."""
        del ctx
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a command, or None."""
        if cmd_name in COMMANDS and cmd_name not in self.commands:
            module, _, function = COMMANDS[cmd_name].partition(":")
            self.add_command(getattr(import_module(f"flambe_ansible.cli.commands.{module}"), function or module))
        return super().get_command(ctx, cmd_name)


@click.group(
    cls=Commands,
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
