"""Arguments and options shared by several commands."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import rich_click as click

from flambe_ansible.cli.completing import complete_yaml
from flambe_ansible.cli.output import Output

if TYPE_CHECKING:
    from flambe_ansible.cluster.cluster import Cluster

Command = TypeVar("Command", bound=Callable[..., Any])
CONTEXT = {"help_option_names": ["-h", "--help"]}

cluster_argument = click.argument(
    "file", metavar="CLUSTER", type=click.Path(path_type=str), shell_complete=complete_yaml
)
job_argument = click.argument("job", metavar="[JOB]", default="")
yes_option = click.option("-y", "--yes", is_flag=True, help="Do not ask for confirmation.")
rerun_option = click.option("--rerun-setup", is_flag=True, help="Run setup_cmds again, even if nothing changed.")


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


def _output_flag(attribute: str, text: str) -> Callable[[Command], Command]:
    """Make an option that sets an attribute of the command's output."""

    def keep(ctx: click.Context, _parameter: click.Parameter, value: bool) -> None:
        if value:
            setattr(ctx.ensure_object(Output), attribute, True)

    return click.option(f"--{attribute}", is_flag=True, expose_value=False, is_eager=True, callback=keep, help=text)


def command(
    *examples: str, name: str | None = None, cls: type[click.RichCommand] = click.RichCommand
) -> Callable[[Callable[..., Any]], click.RichCommand]:
    """Make a command with examples in its help text, and with ``--debug`` as its last option."""

    def decorate(function: Callable[..., Any]) -> click.RichCommand:
        made = click.command(name, cls=cls, epilog=write_examples(*examples))(function)
        debug_option(made)
        return made

    return decorate


json_option = _output_flag("json", "Print one JSON document on stdout; everything else goes to stderr.")
debug_option = _output_flag("debug", "Show the traceback of an error.")


def secrets_option(user: str) -> Callable[[Command], Command]:
    """Make the option ``--secrets``; ``user`` is what gets the secrets."""
    text = f"Secrets file for the {user}. Default: ~/.flambe/secrets.ini."
    return click.option("--secrets", "secrets_file", metavar="FILE", type=click.Path(path_type=Path), help=text)


def write_examples(*lines: str) -> str:
    """Write the examples of a help text, one per line."""
    return "\n\n".join(["Examples:", *(f"$ {line}" for line in lines)])  # rich-click makes a line of a paragraph


@contextmanager
def open_cluster(output: Output, file: str) -> Iterator[Cluster]:
    """Read a cluster's configuration, and close its connections afterwards."""
    from flambe_ansible.cluster.loading import load_cluster  # slow, and not needed for ``--help``

    output.cluster_file = file
    cluster: Cluster = load_cluster(file)
    cluster.observer = output.show_notice
    with closing(cluster):
        yield cluster


def refuse_job(job: str) -> None:
    """Refuse the name of a job on a cluster that runs one at a time."""
    if job:
        raise click.UsageError(f"JOB is {job!r}, and this cluster's runtime runs one job at a time; leave it out")


def find_tail(ctx: click.Context) -> str:
    """Return the command after ``--``: one word is a shell command line, several words are quoted."""
    tail: list[str] = ctx.meta.get("tail", [])
    return tail[0] if len(tail) == 1 else shlex.join(tail)
