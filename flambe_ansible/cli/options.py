"""Arguments and options shared by several commands."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import rich_click as click

from flambe_ansible.cli.output import Output

if TYPE_CHECKING:
    from flambe_ansible.cluster.cluster import Cluster

Command = TypeVar("Command", bound=Callable[..., Any])
CONTEXT = {"help_option_names": ["-h", "--help"]}

cluster_argument = click.argument("file", metavar="CLUSTER", type=click.Path(path_type=str))
yes_option = click.option("-y", "--yes", is_flag=True, help="Do not ask for confirmation.")


class TailCommand(click.RichCommand):
    """A command that takes another command after ``--``, separate from its own arguments."""

    tail = "[-- COMMAND]"

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Remove the tail before the arguments are parsed."""
        own = args
        if "--" in args:
            cut = args.index("--")
            own, ctx.meta["tail"] = args[:cut], args[cut + 1 :]
        return super().parse_args(ctx, own)

    def collect_usage_pieces(self, ctx: click.Context) -> list[str]:
        """Add the tail to the usage line."""
        return [*super().collect_usage_pieces(ctx), self.tail]


class RequiredTailCommand(TailCommand):
    """A command that requires another command after ``--``."""

    tail = "-- COMMAND"


def json_option(command: Command) -> Command:
    """Add ``--json``."""
    text = "Print one JSON document on stdout; everything else goes to stderr."
    return _add_flag(command, "--json", "json", text)


def debug_option(command: Command) -> Command:
    """Add ``--debug``."""
    return _add_flag(command, "--debug", "debug", "Show the traceback of an error.")


def examples(*lines: str) -> str:
    """Write the examples of a help text, one per line."""
    return "\n\n".join(["Examples:", *(f"$ {line}" for line in lines)])  # rich-click makes a line of a paragraph


def load(output: Output, file: str) -> Cluster:
    """Read a cluster's configuration. The slow import is here, so that ``--help`` does not need it."""
    from flambe_ansible.cluster.loading import load_cluster

    output.cluster_file = file
    cluster: Cluster = load_cluster(file)
    cluster.observer = output.show_notice
    return cluster


def find_tail(ctx: click.Context) -> str:
    """Return the command after ``--``: one word is a shell command line, several words are quoted."""
    tail: list[str] = ctx.meta.get("tail", [])
    return tail[0] if len(tail) == 1 else shlex.join(tail)


def _add_flag(command: Command, name: str, attribute: str, text: str) -> Command:
    def keep(ctx: click.Context, _parameter: click.Parameter, value: bool) -> None:
        if value:
            setattr(ctx.ensure_object(Output), attribute, True)

    return click.option(name, is_flag=True, expose_value=False, is_eager=True, callback=keep, help=text)(command)
