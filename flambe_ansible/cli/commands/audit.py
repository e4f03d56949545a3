"""``flambe-ans audit``: everything that clusters have in a region, and what is left behind."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import rich_click as click

from flambe_ansible.cli import options
from flambe_ansible.cli.output import Output

if TYPE_CHECKING:
    from flambe_ansible.doctor.audit import RegionAudit

LEFT_BEHIND = 12  # the exit code if something is left behind
INCOMPLETE = 4  # the exit code if nothing is, but AWS refused to list something


@options.command(
    "flambe-ans audit",
    "flambe-ans audit --region us-east-1 --region eu-west-1 --orphans",
    "flambe-ans audit --lab",
    "flambe-ans audit --json",
)
@click.option(
    "--region",
    "regions",
    metavar="REGION",
    multiple=True,
    help="A region; can be repeated. Default: the configured one.",
)
@options.lab_option
@click.option("--orphans", is_flag=True, help="Show only what is left behind.")
@options.json_option
@click.pass_context
def audit(ctx: click.Context, regions: tuple[str, ...], lab: str | None, orphans: bool) -> None:
    """Show everything in a region that has the tags of a cluster, of any cluster and creator; change nothing.

    For each cluster: its instances, volumes, alarms, spot requests, security groups, key pairs, images and snapshots,
    since when they exist and what they cost, and what is left behind, with the commands that remove it.

    The exit code is 0 if nothing is left behind, and 12 if something is. It is 4 if AWS does not allow to list
    everything: what was not looked at is named.
    """
    from flambe_ansible.cli.render import audit as view

    output: Output = ctx.obj
    if lab and regions:
        raise click.UsageError("give either --region or --lab")
    found = []
    for region in _examine(regions, lab):
        found.append(region)
        _show(output, region, orphans=orphans)
    if output.json:
        output.write_document(view.describe(found, orphans=orphans))
    left, incomplete = sum(one.orphans for one in found), any(one.denied for one in found)
    ctx.exit(LEFT_BEHIND if left else INCOMPLETE if incomplete else 0)


def _examine(regions: tuple[str, ...], lab: str | None) -> Iterator[RegionAudit]:
    """Examine the lab, or each region."""
    from flambe_ansible.doctor.audit import Place, examine, make_rate
    from flambe_ansible.ec2.prices import PriceBook
    from flambe_ansible.ec2.tagged import list_tagged
    from flambe_ansible.paths import state_root
    from flambe_ansible.providers.accounts import open_lab, open_region
    from flambe_ansible.providers.ec2_costs import CACHE

    opened = [open_lab(lab)] if lab else [open_region(one) for one in dict.fromkeys(regions or (None,))]
    for clients in opened:
        place = Place(
            region=clients.region, account=clients.account, lab=lab or "", endpoint=clients.endpoint_url or ""
        )
        rate = make_rate(PriceBook(clients, state_root() / CACHE), clients.region)
        yield examine(list_tagged(clients), place, rate=rate)


def _show(output: Output, region: RegionAudit, *, orphans: bool) -> None:
    """Print a region, and the commands that remove what is shown."""
    from flambe_ansible.cli.render import audit as view

    for part in view.render_region(region, orphans=orphans):
        output.console.print(part)
    commands = view.list_commands(region, orphans=orphans)
    if commands:
        output.say()
        output.say("To remove:")
    for command, about in commands.items():
        output.say_command(f"  {command}   # {about}")
