"""``flambe-ans bake``: make an image of a prepared host, and list and remove such images."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

import rich_click as click

from flambe_ansible.cli import options
from flambe_ansible.cli.completing import complete_yaml
from flambe_ansible.cli.output import Output
from flambe_ansible.cli.render.words import count

if TYPE_CHECKING:
    from collections.abc import Callable

    from flambe_ansible.cluster.cluster import Cluster
    from flambe_ansible.ec2.clients import Clients


@options.command(
    "flambe-ans bake cluster.yaml",
    "flambe-ans bake cluster.yaml --again --yes",
    "flambe-ans bake --list --region us-east-1",
    "flambe-ans bake --remove ami-0123456789abcdef0 --lab",
)
@click.argument(
    "file", metavar="[CLUSTER]", required=False, type=click.Path(path_type=str), shell_complete=complete_yaml
)
@options.yes_option
@click.option("--again", is_flag=True, help="Make a new image, also if there is one.")
@click.option("--list", "listing", is_flag=True, help="List the images of the region or lab; make none.")
@click.option("--remove", "doomed", metavar="ID", multiple=True, help="Delete an image and its snapshots; repeatable.")
@click.option("--region", metavar="REGION", help="With --list or --remove: the region. Default: the configured one.")
@options.lab_option
@options.json_option
@click.pass_obj
def bake(
    output: Output,
    file: str | None,
    yes: bool,
    again: bool,
    listing: bool,
    doomed: tuple[str, ...],
    region: str | None,
    lab: str | None,
) -> None:
    """Make an image of a host with the installed runtime; later launches create their hosts from it.

    A temporary host is created, prepared with the setup commands and the runtime, cleaned of keys, secrets, logs and
    everything else that is its own, and stopped; the image is made of its disk. Then it is terminated. If the command
    is killed, run it again: it finishes, or removes what is left.

    Any cluster of the account uses the image if it has the same runtime, versions, packages, Python, user name and
    setup commands, and would otherwise be created from the same image. The plan of a launch shows it. Without an
    image, a launch installs everything itself.

    Images cost storage until they are removed. `audit` names those that are old or replaced.
    """
    _check_usage(file, region=region, lab=lab, again=again, listing=listing, doomed=doomed)
    if file is None:
        from flambe_ansible.providers.accounts import open_lab, open_region

        _manage(output, open_lab(lab) if lab else open_region(region), doomed, yes=yes)
        return
    with options.open_cluster(output, file) as cluster:
        if listing or doomed:
            _manage(output, _find_clients(cluster), doomed, yes=yes)
        else:
            _bake(output, file, cluster, again=again, yes=yes)


def _check_usage(
    file: str | None, *, region: str | None, lab: str | None, again: bool, listing: bool, doomed: tuple[str, ...]
) -> None:
    if listing and doomed:
        raise click.UsageError("give either --list or --remove")
    if file is None and not (listing or doomed):
        raise click.UsageError("give CLUSTER, or --list, or --remove ID")
    if file and (region or lab):
        raise click.UsageError(f"{'--region' if region else '--lab'} cannot be used with CLUSTER; the file has its own")
    if region and lab:
        raise click.UsageError("give either --region or --lab")
    if again and (listing or doomed):
        raise click.UsageError("--again cannot be used with --list or --remove")


def _find_clients(cluster: Cluster) -> Clients:
    """Return the API clients of a cluster."""
    from flambe_ansible.cluster.aws import AWSCluster
    from flambe_ansible.errors import ClusterConfigurationError

    if isinstance(cluster, AWSCluster):
        return cluster.clients
    raise ClusterConfigurationError(f"cluster {cluster.name} is not on AWS or in a lab: it has no images")


def _bake(output: Output, file: str, cluster: Cluster, *, again: bool, yes: bool) -> None:
    """Show what will be created, ask, and make the images."""
    from flambe_ansible.cli.interrupts import interruptible
    from flambe_ansible.cli.launching import require_yes
    from flambe_ansible.cli.progress import Progress
    from flambe_ansible.cli.render import baked as view
    from flambe_ansible.cli.render.costs import write_month
    from flambe_ansible.cluster.baking import Baker

    output.next_command = output.command
    baker = Baker(cluster)
    types = baker.find_missing(again=again)
    price = _find_price(_find_clients(cluster))
    if types:
        most = write_month(price(len(types) * baker.volume_size))
        output.say(f"{count(len(types), 'image')}: {most} for the snapshots, until bake --remove deletes them")
    if types and not yes:
        hosts = count(len(types), "temporary host")
        require_yes(output, f"Create {hosts} ({', '.join(types)}) and make an image of each?", "nothing was created")
    cluster.observer = baker.builder.observer = progress = Progress(output, cluster=baker.builder.name)
    with interruptible(), progress:
        result = baker.bake(again=again)
    output.next_command = ""
    output.console.print(view.render_images(result.images, price))
    output.say()
    made = f"Made {' and '.join(result.made)}" if result.made else "The image exists; --again makes a new one"
    output.say(f"{made}. A launch creates new hosts from it:")
    output.say_command(f"  flambe-ans launch {shlex.quote(file)}")
    if output.json:
        output.write_document(
            {**view.describe(result.images, price), "made": list(result.made), "seconds": result.seconds}
        )


def _find_price(clients: Clients) -> Callable[[int], float | None]:
    """Return the function for the highest price of snapshots of so many GB, in US dollars per month."""
    from flambe_ansible.ec2.prices import HOURS_PER_MONTH, PriceBook, multiply
    from flambe_ansible.paths import state_root
    from flambe_ansible.providers.ec2_costs import CACHE

    book = PriceBook(clients, state_root() / CACHE)
    return lambda size: multiply(book.find_snapshot(size, region=clients.region).usd, HOURS_PER_MONTH)


def _manage(output: Output, clients: Clients, doomed: tuple[str, ...], *, yes: bool) -> None:
    """List the images of a region, or remove some."""
    from flambe_ansible.cli.launching import require_yes
    from flambe_ansible.cli.render import baked as view
    from flambe_ansible.ec2 import baked
    from flambe_ansible.errors import AWSError

    found, price = baked.find_all(clients.ec2), _find_price(clients)
    if not doomed:
        output.console.print(view.render_images(found, price))
        if output.json:
            output.write_document(view.describe(found, price))
        return
    known = {one.id: one for one in found}
    unknown = [one for one in doomed if one not in known]
    if unknown:
        raise AWSError(
            f"{', '.join(unknown)}: no image that bake made in {clients.region}; nothing was removed",
            code="InvalidAMIID.NotFound",
            hint=f"{output.command.partition(' --remove')[0]} --list   # lists them",
        )
    chosen = [known[one] for one in dict.fromkeys(doomed)]
    output.console.print(view.render_images(chosen, price))
    if not yes:
        require_yes(output, f"Delete {count(len(chosen), 'image')} with the snapshots?", "nothing was removed")
    for one in chosen:
        baked.remove(clients.ec2, one)
        output.say(f"removed {one.id} and {', '.join(one.snapshots) or 'no snapshot'}; existing hosts are unchanged")
    if output.json:
        output.write_document({**view.describe(chosen, price), "removed": [one.id for one in chosen]})
