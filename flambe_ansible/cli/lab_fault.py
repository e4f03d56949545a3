"""``flambe-ans lab fault``: faults of a lab, for drills."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import rich_click as click

from flambe_ansible.cli import options
from flambe_ansible.cli.output import Output

if TYPE_CHECKING:
    from flambe_ansible.lab import Fault

lab_option = click.option("--name", default="default", show_default=True, metavar="NAME", help="Name of the lab.")


@click.group(
    cls=options.CommandGroup,
    epilog=options.write_examples(
        "flambe-ans lab fault add capacity --type g5.xlarge",
        "flambe-ans lab fault add lost-response --call RunInstances",
        "flambe-ans lab fault add network-cut --host 'demo_factory_*' --seconds 30",
        "flambe-ans lab fault clear",
    ),
)
def fault() -> None:
    """Let a running lab misbehave, to see what clusters and tools do then.

    A fault acts at once, until it has acted the given number of times or is cleared. `docs/lab.md` lists the kinds.
    """


@options.command(
    "flambe-ans lab fault add throttling --times 3",
    "flambe-ans lab fault add reboot --host demo_factory_0 --delay 20",
)
@click.argument("kind")
@lab_option
@click.option("--call", metavar="CALL", help="Act on this API call only, such as CreateTags.")
@click.option("--type", "instance_type", metavar="TYPE", help="Act on instances of this type only.")
@click.option("--zone", metavar="ZONE", help="Act on instances in this availability zone only.")
@click.option("--host", metavar="PATTERN", help="Act on hosts with this name or instance id only; * and ? match.")
@click.option("--times", metavar="N", type=int, help="Act on so many calls or hosts. Default: until it is cleared.")
@click.option("--after", metavar="N", type=int, help="Let so many matching calls or hosts pass first.")
@click.option("--seconds", metavar="SECONDS", type=float, help="Duration; its default depends on the kind.")
@click.option("--delay", metavar="SECONDS", type=float, help="Wait so long after a host runs. Default: 0.")
@click.option("--count", metavar="N", type=int, help="Number of instances or megabytes; depends on the kind.")
@options.json_option
@click.pass_obj
def add(output: Output, /, kind: str, name: str, instance_type: str | None, **given: Any) -> None:
    """Add a fault of a kind, such as capacity, throttling, lost-response, slow-boot or reboot."""
    from flambe_ansible import lab as labs

    added = labs.add_fault(labs.info(name), kind=kind, type=instance_type, **given)
    output.say(describe_fault(added))
    if output.json:
        output.write_document(added.to_dict())


@options.command("flambe-ans lab fault list", "flambe-ans lab fault list --json", name="list")
@lab_option
@options.json_option
@click.pass_obj
def list_all(output: Output, name: str) -> None:
    """List the faults that still act."""
    from flambe_ansible import lab as labs

    _show(output, labs.list_faults(labs.info(name)), none=f"Lab {name} has no faults.")


@options.command("flambe-ans lab fault clear", "flambe-ans lab fault clear 2")
@click.argument("number", type=options.WholeNumber(min=1), required=False)
@lab_option
@options.json_option
@click.pass_obj
def clear(output: Output, number: int | None, name: str) -> None:
    """Remove the fault with a number, or all faults. What a fault did to a host's disk stays."""
    from flambe_ansible import lab as labs

    gone = labs.clear_faults(labs.info(name), number or 0)
    _show(
        output, gone, none=f"Lab {name} has no such fault." if number else f"Lab {name} has no faults.", word="cleared "
    )


for command in (add, list_all, clear):
    fault.add_command(command)


def _show(output: Output, found: Sequence[Fault], *, none: str, word: str = "") -> None:
    for one in found:
        output.say(f"{word}{describe_fault(one)}")
    if not found:
        output.say(none)
    if output.json:
        output.write_document({"faults": [one.to_dict() for one in found]})


def describe_fault(fault: Fault) -> str:
    """Describe a fault in one line: its number, its kind, and the options that are not empty."""
    document = fault.to_dict()
    number, kind = document.pop("id"), document.pop("kind")
    if document["count"] < 0:
        document["count"] = ""
    shown = [
        f"{name} {value:g}" if isinstance(value, float) else f"{name} {value}"
        for name, value in document.items()
        if value
    ]
    return f"fault {number}: {', '.join([kind, *shown])}"
