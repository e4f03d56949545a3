"""``flambe-ans lab``: EC2 on this machine, for trying things out and for tests."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import rich_click as click

from flambe_ansible.cli.options import CONTEXT, debug_option, examples, json_option
from flambe_ansible.cli.output import Output

if TYPE_CHECKING:
    from flambe_ansible.lab import LabInfo

name_option = click.option("--name", default="default", show_default=True, metavar="NAME", help="Which lab.")


@click.group(
    context_settings=CONTEXT,
    epilog=examples(
        "sudo flambe-ans lab up",
        "flambe-ans lab status",
        "sudo flambe-ans lab down",
    ),
)
def lab() -> None:
    """EC2 on this Linux machine: the API on loopback, every instance a real host.

    It needs root on Debian 12+ or Ubuntu 22.04+; launching on it does not.
    """


@lab.command(context_settings=CONTEXT)
@name_option
@json_option
@debug_option
@click.pass_obj
def up(output: Output, name: str) -> None:
    """Start a lab; one that is up stays as it is. The first start builds the hosts' image, some minutes."""
    from flambe_ansible import lab as labs

    info = labs.up(name)
    if output.json:
        output.write_document(describe(info))
        return
    output.say(f"Lab {info.name} is up: {info.endpoint}")
    for line in write_environment(info):
        output.say(f"  {line}")
    output.say("The lines above point any AWS client at it. Next: flambe-ans launch examples/lab.yaml")


@lab.command(context_settings=CONTEXT)
@name_option
@json_option
@debug_option
@click.pass_obj
def status(output: Output, name: str) -> None:
    """Show whether a lab is up."""
    from flambe_ansible import lab as labs

    found = labs.status(name)
    if output.json:
        output.write_document(describe(found))
        return
    output.say(f"Lab {name} is {'up' if found.up else 'down'}" + (f": {found.endpoint}" if found.up else ""))


@lab.command(context_settings=CONTEXT)
@name_option
@click.option("--purge", is_flag=True, help="Remove the cached image and packages too.")
@json_option
@debug_option
@click.pass_obj
def down(output: Output, name: str, purge: bool) -> None:
    """End a lab with all its hosts, and leave nothing of it behind."""
    from flambe_ansible import lab as labs

    labs.down(name, purge=purge)
    output.say(f"Lab {name} is down; nothing of it is left" + ("." if purge else " but the cached image (--purge)."))
    if output.json:
        output.write_document({"name": name, "up": False})


def write_environment(info: LabInfo) -> list[str]:
    """Write the lines for a shell that point an AWS client at the lab."""
    return [
        f"export AWS_ENDPOINT_URL={info.endpoint}",
        f"export AWS_ACCESS_KEY_ID={info.access_key}",
        f"export AWS_SECRET_ACCESS_KEY={info.secret_key}",
        f"export AWS_DEFAULT_REGION={info.region}",
    ]


def describe(info: LabInfo) -> dict[str, Any]:
    """Return what is known of a lab as plain data; its secret key belongs to nobody's log."""
    return {key: value for key, value in asdict(info).items() if key != "secret_key"}
