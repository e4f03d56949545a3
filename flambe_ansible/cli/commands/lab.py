"""``flambe-ans lab``: EC2 on this machine, for trying things out and for tests."""

from __future__ import annotations

import shlex
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rich_click as click

from flambe_ansible.cli.options import CONTEXT, debug_option, examples, json_option
from flambe_ansible.cli.output import Output

if TYPE_CHECKING:
    from flambe_ansible.lab import LabInfo, LabStatus

name_option = click.option("--name", default="default", show_default=True, metavar="NAME", help="Which lab.")


@click.group(
    context_settings=CONTEXT,
    epilog=examples("sudo flambe-ans lab up", "flambe-ans lab status", "sudo flambe-ans lab down"),
)
def lab() -> None:
    """EC2 on this Linux machine: the API on loopback, every instance a real host.

    It needs root on Debian 12+ or Ubuntu 22.04+; launching on it does not.
    """


@lab.command(context_settings=CONTEXT, epilog=examples("sudo flambe-ans lab up", "sudo flambe-ans lab up --name other"))
@name_option
@click.option(
    "--network", "network_range", metavar="CIDR", help="A new lab's address range, a /24. Default: a free one."
)
@click.option("--max-hosts", type=click.IntRange(1, 200), help="How many hosts a new lab can have. Default: 32.")
@click.option(
    "--python",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="The Python 3.7 to offer to the hosts. Default: the one found on this machine, if any.",
)
@json_option
@debug_option
@click.pass_obj
def up(output: Output, name: str, network_range: str | None, max_hosts: int | None, python: Path | None) -> None:
    """Start a lab; one that is up stays as it is. The first start builds the hosts' image, some minutes."""
    from flambe_ansible import lab as labs

    info = labs.up(name, python=python, network_range=network_range, max_hosts=max_hosts, say=output.say)
    if output.json:
        output.write_document(describe_lab(info))
        return
    output.say(f"The lab {info.name} is up: {info.endpoint}")
    output.say("These lines point any AWS client at it:")
    for variable, value in info.environment().items():
        output.say(f"  export {variable}={shlex.quote(value)}")
    output.say("Next: flambe-ans launch examples/lab.yaml")


@lab.command(context_settings=CONTEXT, epilog=examples("flambe-ans lab status", "flambe-ans lab status --json"))
@name_option
@json_option
@debug_option
@click.pass_obj
def status(output: Output, name: str) -> None:
    """Show whether a lab is up, and its hosts."""
    from flambe_ansible import lab as labs
    from flambe_ansible.cli.render.lab import render_lab

    found = labs.status(name)
    if output.json:
        output.write_document(describe_status(found))
    else:
        output.console.print(render_lab(found))


@lab.command(context_settings=CONTEXT, epilog=examples("sudo flambe-ans lab down", "sudo flambe-ans lab down --purge"))
@name_option
@click.option("--purge", is_flag=True, help="Remove the cached image and packages too, when no other lab is left.")
@json_option
@debug_option
@click.pass_obj
def down(output: Output, name: str, purge: bool) -> None:
    """End a lab with all its hosts, and leave nothing of it behind."""
    from flambe_ansible import lab as labs

    existed = labs.down(name, purge=purge)
    left = "" if purge else "; the cached image stays (--purge removes it)"
    output.say(f"The lab {name} {'is gone' if existed else 'does not exist'}{left}.")
    if output.json:
        output.write_document({"name": name, "up": False, "existed": existed})


def describe_lab(info: LabInfo) -> dict[str, Any]:
    """Return how to use a lab as plain data; its secret key belongs to nobody's log."""
    return {key: value for key, value in asdict(info).items() if key != "secret_key"}


def describe_status(found: LabStatus) -> dict[str, Any]:
    """Return how a lab is as plain data."""
    return {
        "name": found.name,
        "exists": found.exists,
        "up": found.up,
        **({"lab": describe_lab(found.info)} if found.info else {}),
        "hosts": [asdict(host) for host in found.hosts],
    }
