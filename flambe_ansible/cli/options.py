"""Arguments and options shared by several commands."""

from __future__ import annotations

import difflib
import math
import re
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

import rich_click as click

from flambe_ansible.cli import durations
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
lab_option = click.option("--lab", metavar="[NAME]", help="A lab instead of a region; without NAME, the lab `default`.")
rerun_option = click.option("--rerun-setup", is_flag=True, help="Run setup_cmds again, even if nothing changed.")


class WholeNumber(click.IntRange):
    """A whole number in a range."""

    name = "whole number"  # click's own name is "integer range": "'two' is not a valid integer range"


class Number(click.FloatRange):
    """A number in a range."""

    name = "number"


WITHOUT_LIMIT = "without limit"
DEFAULT_LAB = "default"
# The options whose values may be left out: the value that they have then, and what their values look like.
OPTIONAL_VALUES = {
    "--wait": (WITHOUT_LIMIT, durations.PATTERN),
    "--lab": (DEFAULT_LAB, re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")),
}


class OptionalValueCommand(click.RichCommand):
    """A command with options whose values may be left out: ``--wait``, ``--wait 30m``, ``--lab``, ``--lab NAME``.

    click takes the next argument as the value of such an option; here, one that cannot be its value is an argument.
    """

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Write ``--wait cluster.yaml`` as ``--wait=VALUE cluster.yaml``."""
        return super().parse_args(ctx, list(_complete_values(args)))

    def get_help(self, ctx: click.Context) -> str:
        """Return the help text without blanks at the end of its lines."""
        return _trim_lines(super().get_help(ctx))


def _trim_lines(text: str) -> str:
    return re.sub(r" +$", "", text, flags=re.MULTILINE)


def _complete_values(args: Sequence[str]) -> Iterator[str]:
    """Yield the arguments; an option whose value was left out gets the value that it has then."""
    for index, arg in enumerate(args):
        default, pattern = OPTIONAL_VALUES.get(arg, ("", None))
        following = args[index + 1] if index + 1 < len(args) else ""
        yield f"{arg}={default}" if pattern and not pattern.fullmatch(following) else arg


class TailCommand(OptionalValueCommand):
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


class CommandGroup(click.RichGroup):
    """A group that suggests a command for a wrong name."""

    other_names: ClassVar[Mapping[str, str]] = {}  # of its commands, in other tools

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the command; ``UsageError`` with a suggestion if there is none."""
        word = args[0] if args else ""
        if word and not word.startswith("-") and self.get_command(ctx, word) is None:
            similar = difflib.get_close_matches(word, self.list_commands(ctx), n=1)
            meant = self.other_names.get(word) or next(iter(similar), "")
            raise click.UsageError(f"No such command {word!r}." + (f" Did you mean {meant!r}?" if meant else ""), ctx)
        return super().resolve_command(ctx, args)

    def get_help(self, ctx: click.Context) -> str:
        """Return the help text without blanks at the end of its lines."""
        return _trim_lines(super().get_help(ctx))


def _output_flag(attribute: str, text: str) -> Callable[[Command], Command]:
    """Make an option that sets an attribute of the command's output."""

    def keep(ctx: click.Context, _parameter: click.Parameter, value: bool) -> None:
        if value:
            setattr(ctx.ensure_object(Output), attribute, True)

    return click.option(f"--{attribute}", is_flag=True, expose_value=False, is_eager=True, callback=keep, help=text)


def command(
    *examples: str, name: str | None = None, cls: type[click.RichCommand] = OptionalValueCommand
) -> Callable[[Callable[..., Any]], click.RichCommand]:
    """Make a command with examples in its help text, and with ``--debug`` as its last option."""

    def decorate(function: Callable[..., Any]) -> click.RichCommand:
        made = click.command(name, cls=cls, epilog=write_examples(*examples))(function)
        debug_option(made)
        return made

    return decorate


json_option = _output_flag("json", "Print one JSON document on stdout; everything else goes to stderr.")
debug_option = _output_flag("debug", "Show the traceback of an error.")


def _read_limit(_ctx: click.Context, _parameter: click.Parameter, value: str | None) -> float | None:
    """Return the seconds of ``--wait``; None without it."""
    if value is None:
        return None
    return math.inf if value == WITHOUT_LIMIT else durations.read_duration(value, name="--wait")


wait_option = click.option(
    "--wait",
    metavar="[LIMIT]",
    callback=_read_limit,
    help="If another command has reserved the cluster, wait until it has ended, at most for LIMIT, such as 30m.",
)


def secrets_option(user: str) -> Callable[[Command], Command]:
    """Make the option ``--secrets``; ``user`` is what gets the secrets."""
    text = f"Secrets file for the {user}. Default: ~/.flambe/secrets.ini."
    return click.option("--secrets", "secrets_file", metavar="FILE", type=click.Path(path_type=Path), help=text)


def write_examples(*lines: str) -> str:
    """Write the examples of a help text, one per line."""
    return "\n\n".join(["Examples:", *(f"$ {line}" for line in lines)])  # rich-click makes a line of a paragraph


@contextmanager
def open_cluster(output: Output, file: str, *, wait: float | None = None, connect: bool = False) -> Iterator[Cluster]:
    """Read a cluster's configuration, and close its connections afterwards.

    Args:
        output: The output.
        file: The cluster's file.
        wait: The value of ``--wait``.
        connect: Start to connect to the hosts at once.
    """
    output.cluster_file = file
    with ExitStack() as stack:
        started = output.started.take(file) if connect else None
        if started:
            stack.enter_context(started)
        from flambe_ansible.cluster.loading import load_cluster  # slow, and not needed for ``--help``
        from flambe_ansible.ec2 import crt

        crt.skip()
        cluster = stack.enter_context(hold_open(output, load_cluster(file), wait=wait))
        if connect:
            cluster.attach_early(started, head_only=output.started.head_only)
        yield cluster
        if connect:
            cluster.record_access(file)


@contextmanager
def hold_open(output: Output, cluster: Cluster, *, wait: float | None = None) -> Iterator[Cluster]:
    """Show a cluster's notices, and close its connections at the end of the block."""
    cluster.observer = output.show_notice
    cluster.wait_limit = wait or 0.0
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
