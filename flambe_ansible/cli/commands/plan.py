"""``flambe-ans plan``: what a launch would do, and what the cluster costs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import rich_click as click

from flambe_ansible.cli import errors, options
from flambe_ansible.cli.output import Output
from flambe_ansible.errors import CancelledError, FlambeAnsibleError

if TYPE_CHECKING:
    from flambe_ansible.launch.plan import Plan

DETAILED = "--detailed-exitcode"
CHANGES = 2
FAILED = 1


class DetailedUsageError(click.UsageError):
    """A usage error with the exit code of an error."""

    exit_code = FAILED


class PlanCommand(options.OptionalValueCommand):
    """A command whose usage errors have exit code 1 with ``--detailed-exitcode``, since 2 means changes."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse the arguments."""
        detailed = DETAILED in args
        try:
            return super().parse_args(ctx, args)
        except click.UsageError as error:
            if detailed:
                raise DetailedUsageError(error.format_message(), ctx=error.ctx) from error
            raise


@options.command(
    "flambe-ans plan cluster.yaml",
    "flambe-ans plan cluster.yaml --json | jq .costs.per_hour",
    "flambe-ans plan cluster.yaml --detailed-exitcode",
    cls=PlanCommand,
)
@options.cluster_argument
@click.option(
    DETAILED, is_flag=True, help="Exit with 0 without changes, with 2 if there are some, and with 1 after an error."
)
@options.json_option
@click.pass_context
def plan(ctx: click.Context, file: str, detailed_exitcode: bool) -> None:
    """Show what a launch would do, and what the cluster costs.

    The hosts on AWS are compared with the file, field by field. The plan shows the effect of each difference: it is
    applied in place, or to new hosts only, or not at all. Nothing is changed. What is installed on the hosts is
    verified by a launch.
    """
    output: Output = ctx.obj
    try:
        found = _show(output, file)
    except (FlambeAnsibleError, errors.ShownError) as error:
        if not detailed_exitcode or isinstance(error, CancelledError):
            raise
        errors.handle(output, error)
        ctx.exit(FAILED)
    ctx.exit(CHANGES if detailed_exitcode and found.changes_anything else 0)


def _show(output: Output, file: str) -> Plan:
    from flambe_ansible.cli.launching import show_plan

    with options.open_cluster(output, file) as cluster:
        found = cluster.plan()
    show_plan(output, found)
    return found
