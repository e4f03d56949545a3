"""``flambe-ans lab``: an EC2-compatible cloud on this machine, for trials and tests."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rich_click as click

from flambe_ansible.cli import options
from flambe_ansible.cli.lab_fault import fault
from flambe_ansible.cli.output import Output
from flambe_ansible.errors import LabError

if TYPE_CHECKING:
    from flambe_ansible.lab import LabInfo

DEFAULT = "default"
name_option = click.option("--name", default=DEFAULT, show_default=True, metavar="NAME", help="Name of the lab.")


@click.group(
    cls=options.CommandGroup,
    epilog=options.write_examples("sudo flambe-ans lab up", "flambe-ans lab status", "sudo flambe-ans lab down"),
)
def lab() -> None:
    """Manage an EC2-compatible cloud on this Linux machine.

    Its API listens on the loopback interface; every instance is a real host. `up` and `down` need root on Debian 12+
    or Ubuntu 22.04+; launching clusters in the lab does not.
    """


@options.command("sudo flambe-ans lab up", "sudo flambe-ans lab up --name other")
@name_option
@click.option(
    "--network", "network_range", metavar="CIDR", help="Address range of a new lab, a /24. Default: a free one."
)
@click.option(
    "--max-hosts",
    metavar="N",
    type=options.WholeNumber(1, 200),
    help="Maximum number of hosts of a new lab. Default: 32.",
)
@click.option(
    "--quota",
    "quotas",
    metavar="CODE=VCPUS",
    multiple=True,
    help="Quota of a new lab's account for running vCPUs, such as L-DB2E81BA=0 (types with G); can be repeated. "
    "Default: 10000.",
)
@click.option(
    "--python",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Python 3.7 interpreter for the hosts. Default: the one found on this machine, if any.",
)
@click.option(
    "--policy",
    metavar="FILE",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    help="IAM policy that a new lab enforces. Default: everything is allowed.",
)
@click.option(
    "--consistency",
    type=click.Choice(["strong", "eventual"]),
    help="With eventual, calls to a new lab show new instances and tags some seconds late. Default: strong.",
)
@click.option(
    "--console-delay",
    metavar="SECONDS",
    type=options.Number(0, 3600),
    help="Time until the console of a new lab's hosts shows their host keys. Default: 0.5.",
)
@options.json_option
@click.pass_obj
def up(output: Output, /, name: str, **settings: Any) -> None:
    """Start a lab.

    The first start builds the image of the hosts, which takes a few minutes. A running lab is not changed.
    """
    from flambe_ansible import lab as labs

    with naming(name):
        info = labs.up(name, say=output.say, **settings)
    if output.json:
        output.write_document(describe_lab(info))
        return
    output.say(f"Lab {info.name} is up: {info.endpoint}")
    output.say("To use it with any AWS client:")
    for variable, value in info.environment().items():
        output.say_command(f"  export {variable}={shlex.quote(value)}")
    _say_next(output, name)


@options.command("flambe-ans lab status", "flambe-ans lab status --json")
@name_option
@options.json_option
@click.pass_obj
def status(output: Output, name: str) -> None:
    """Show the state of a lab and its hosts."""
    from flambe_ansible import lab as labs
    from flambe_ansible.cli.render.lab import render_lab
    from flambe_ansible.lab.client import words

    with naming(name):
        found = labs.status(name)
    if output.json:
        known = {"lab": describe_lab(found.info)} if found.info else {}
        hosts = [asdict(host) for host in found.hosts]
        output.write_document({"name": name, "exists": found.exists, "up": found.up, **known, "hosts": hosts})
        return
    output.console.print(render_lab(found))
    if not found.up:
        output.say_command(f"next: sudo flambe-ans {words('up', name)}")
    elif not found.hosts:
        _say_next(output, name)


@options.command("sudo flambe-ans lab down", "sudo flambe-ans lab down --purge")
@name_option
@click.option("--purge", is_flag=True, help="Also delete the cached image and packages, if no other lab is left.")
@options.json_option
@click.pass_obj
def down(output: Output, name: str, purge: bool) -> None:
    """Stop a lab and delete its hosts.

    Everything that the lab created on this machine is removed. The cached image is kept unless --purge is given.
    """
    from flambe_ansible import lab as labs

    with naming(name):
        existed = labs.down(name, purge=purge)
    left = "" if purge else "; the cached image is kept (--purge deletes it)"
    output.say(f"Lab {name} {'was deleted' if existed else 'does not exist'}{left}.")
    if output.json:
        output.write_document({"name": name, "up": False, "existed": existed})


@contextmanager
def naming(name: str) -> Iterator[None]:
    """Add the lab's name to the commands in the hint of an error."""
    try:
        yield
    except LabError as error:
        if error.hint and name != DEFAULT:
            named = f" --name {shlex.quote(name)}"
            error.hint = re.sub(r"\blab (?:up|down|status)\b(?! --name)", lambda found: found[0] + named, error.hint)
        raise


def _say_next(output: Output, name: str) -> None:
    """Print how to launch a cluster in a lab."""
    file, option = ("cluster.yaml", "") if name == DEFAULT else (f"{name}.yaml", f" --lab {name}")
    output.say("To launch a cluster in it:")
    output.say_command(f"next: flambe-ans init lab {file}{option}")
    output.say_command(f"next: flambe-ans launch {file}")


for command in (up, status, down, fault):
    lab.add_command(command)


def describe_lab(info: LabInfo) -> dict[str, Any]:
    """Return how to use a lab as plain data, without its secret key."""
    return {key: value for key, value in asdict(info).items() if key != "secret_key"}
