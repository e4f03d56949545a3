"""An audit of a region: what each cluster has there, and what is left behind."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum

from flambe_ansible.ec2.prices import HOURS_PER_MONTH, PriceBook, multiply
from flambe_ansible.ec2.tagged import Kind, Listing, Tagged
from flambe_ansible.hosts import Role

YOUNG_SECONDS = 300.0  # a launch creates key pair and group first, then factories, then the orchestrator
OLD_DAYS = 60  # of a baked image, whose packages are as old
ALIVE = ("pending", "running")
Rate = Callable[[Tagged], float | None]  # the price of a resource per hour in US dollars; None if it is unknown


class State(StrEnum):
    """The state of a cluster."""

    RUNNING = "running"
    STOPPED = "stopped"
    STARTING = "starting"  # something of it was created in the last minutes, and it is not complete
    ENDING = "ending"
    ORPHANED = "orphaned"
    ABSENT = "absent"  # it has no host, and nothing is left behind
    UNKNOWN = "unknown"  # instances could not be listed


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where resources are: the region, the account's id or "", and the lab and its API's address or ""."""

    region: str
    account: str = ""
    lab: str = ""
    endpoint: str = ""


@dataclass(frozen=True, kw_only=True)
class Resource:
    """A resource of a cluster.

    Attributes:
        tagged: The resource.
        orphan: Why it is left behind, or "".
        remedy: The command that removes it.
        per_hour: Its price per hour in US dollars, of a snapshot the highest; None if it is unknown.
        so_far: What it has cost since it was created or started, at this price; None if it is unknown.
    """

    tagged: Tagged
    orphan: str
    remedy: str
    per_hour: float | None
    so_far: float | None


@dataclass(frozen=True, kw_only=True)
class ClusterAudit:
    """What a cluster has in a region.

    Attributes:
        name: Its name.
        creator: Its creator.
        state: Its state.
        remedy: The command that removes all of it.
        resources: Everything that it has.
    """

    name: str
    creator: str
    state: State
    remedy: str
    resources: tuple[Resource, ...]

    @property
    def orphans(self) -> tuple[Resource, ...]:
        """The resources that are left behind."""
        return tuple(one for one in self.resources if one.orphan)

    @property
    def since(self) -> datetime | None:
        """The time of the oldest resource; None if AWS shows none."""
        return min((one.tagged.since for one in self.resources if one.tagged.since), default=None)

    @property
    def per_hour(self) -> float | None:
        """The price of all resources per hour, without snapshots; None if one is unknown."""
        return _add(one.per_hour for one in self.resources if one.tagged.kind is not Kind.SNAPSHOT)

    @property
    def snapshots_per_month(self) -> float | None:
        """The highest price of all snapshots per month; None if one is unknown."""
        total = _add(one.per_hour for one in self.resources if one.tagged.kind is Kind.SNAPSHOT)
        return multiply(total, HOURS_PER_MONTH)

    @property
    def so_far(self) -> float | None:
        """What all resources have cost, without snapshots; None if one is unknown."""
        return _add(one.so_far for one in self.resources if one.tagged.kind is not Kind.SNAPSHOT)


@dataclass(frozen=True, kw_only=True)
class RegionAudit:
    """What a region has.

    Attributes:
        place: The region.
        clusters: The clusters, by name and creator.
        denied: The kinds that could not be listed, each with the missing permission.
    """

    place: Place
    clusters: tuple[ClusterAudit, ...]
    denied: Mapping[Kind, str]

    @property
    def orphans(self) -> int:
        """The number of resources that are left behind."""
        return sum(len(cluster.orphans) for cluster in self.clusters)


def examine(listing: Listing, place: Place, *, rate: Rate, now: datetime | None = None) -> RegionAudit:
    """Sort the resources of a region by cluster, and find what is left behind.

    Args:
        listing: The resources.
        place: The region.
        rate: Returns the price of a resource per hour.
        now: The time; None is the current one.
    """
    groups: dict[tuple[str, str], list[Tagged]] = {}
    for one in listing.found:
        groups.setdefault((one.cluster, one.creator), []).append(one)
    examiner = _Examiner(listing, place, rate=rate, now=now or datetime.now(UTC))
    clusters = tuple(examiner.examine(*key, members) for key, members in sorted(groups.items()))
    return RegionAudit(place=place, clusters=clusters, denied=listing.denied)


def make_rate(book: PriceBook, region: str) -> Rate:
    """Return the function for the price of a resource per hour: instances, volumes and snapshots; others cost nothing.

    That of a snapshot is the highest. An image costs nothing besides its snapshots.
    """

    def find(one: Tagged) -> float | None:
        if one.kind is Kind.INSTANCE:
            return book.find_instance(one.type, region=region).usd if one.state in ALIVE else 0.0
        if one.kind is Kind.VOLUME:
            return book.find_disk(one.type, one.size, 0, region=region).usd
        return book.find_snapshot(one.size, region=region).usd if one.kind is Kind.SNAPSHOT else 0.0

    return find


def write_down(cluster: str, creator: str, place: Place) -> str:
    """Write the command that terminates a cluster without its file."""
    return shlex.join(["flambe-ans", "down", "--name", cluster, "--creator", creator, *_name_place(place)])


def _name_place(place: Place) -> list[str]:
    """Return the options that name a place."""
    return ["--lab", place.lab] if place.lab else ["--region", place.region]


def _is_newer(one: Tagged, other: Tagged) -> bool:
    """Return whether a resource was created after another one."""
    return one.since is not None and other.since is not None and one.since > other.since


class _Examiner:
    """Examines the clusters of one region."""

    def __init__(self, listing: Listing, place: Place, *, rate: Rate, now: datetime) -> None:
        self._denied = listing.denied
        self._place, self._rate, self._now = place, rate, now
        self._instances = {one.id for one in listing.found if one.kind is Kind.INSTANCE}
        self._baked = [one for one in listing.found if one.kind is Kind.IMAGE and one.recipe]

    def examine(self, name: str, creator: str, members: Sequence[Tagged]) -> ClusterAudit:
        """Examine the resources of one cluster."""
        hosts = [one for one in members if one.kind is Kind.INSTANCE and one.own and one.state != "shutting-down"]
        heads = sum(one.role is Role.ORCHESTRATOR for one in hosts)
        fresh = any(self._is_young(one) for one in members if one.kind in (Kind.INSTANCE, Kind.KEY_PAIR))
        down = write_down(name, creator, self._place)
        resources = tuple(
            self._describe(one, self._find_reason(one, hosts=len(hosts), heads=heads, fresh=fresh), down)
            for one in members
        )
        return ClusterAudit(
            name=name,
            creator=creator,
            state=self._derive_state(resources, hosts, starting=fresh and not heads),
            remedy=down,
            resources=resources,
        )

    def _find_reason(self, one: Tagged, *, hosts: int, heads: int, fresh: bool) -> str:
        """Return why a resource is left behind, or "" if it is not, or if that cannot be determined."""
        if one.recipe:
            return self._find_reason_of_baked(one)
        if one.kind is Kind.VOLUME:
            return "attached to no instance" if one.state == "available" and not self._is_young(one) else ""
        if Kind.INSTANCE in self._denied or one.state == "shutting-down":
            return ""
        if one.kind in (Kind.ALARM, Kind.SPOT_REQUEST):
            exists = one.instance in self._instances or self._is_young(one)
            return "" if exists else "its instance does not exist"
        if one.kind is Kind.INSTANCE and not one.own:
            return "no Role or creator tag: it belongs to no cluster"
        if one.baking and self._is_forgotten(one):
            return "its bake was interrupted, and it does not end itself"
        if one.role is Role.ORCHESTRATOR:  # two launches at the same moment; neither cluster can be used
            return f"the cluster has {heads} orchestrators" if heads > 1 else ""
        if fresh or not one.own:
            return ""
        if one.kind is Kind.INSTANCE:
            return "" if heads else "the cluster has no orchestrator"
        return "" if hosts else "the cluster has no instance"

    def _is_forgotten(self, one: Tagged) -> bool:
        """Return whether a temporary host of a bake was stopped for an image that is not being made."""
        if one.state != "stopped" or self._is_young(one) or Kind.IMAGE in self._denied:
            return False
        return not any(image.state == "pending" and image.recipe.startswith(one.baking) for image in self._baked)

    def _find_reason_of_baked(self, one: Tagged) -> str:
        """Return why a baked image, or its snapshot, is no longer of use; "" if it is."""
        if one.kind is Kind.SNAPSHOT:
            exists = Kind.IMAGE in self._denied or any(one.id in image.snapshots for image in self._baked)
            return "" if exists or self._is_young(one) else "its image does not exist"
        if one.state not in ("available", "pending"):
            return f"the image is {one.state}"
        same = [image for image in self._baked if (image.recipe, image.base) == (one.recipe, one.base)]
        newer = [image.id for image in same if image.state == "available" and _is_newer(image, one)]
        if newer:
            return f"replaced by {newer[0]}"
        days = int(self._age(one) // 86_400)
        return f"made {days} days ago: bake again for current packages" if days >= OLD_DAYS else ""

    def _describe(self, one: Tagged, orphan: str, down: str) -> Resource:
        rate = self._rate(one)
        hours = self._age(one) / 3600 if one.since else None
        return Resource(
            tagged=one,
            orphan=orphan,
            remedy=self._find_remedy(one, down),
            per_hour=rate,
            so_far=0.0 if rate == 0 else None if rate is None or hours is None else rate * hours,
        )

    def _find_remedy(self, one: Tagged, down: str) -> str:
        """Return the command that removes a resource: ``down`` for what it removes, else one of AWS's own."""
        commands = {
            Kind.INSTANCE: f"terminate-instances --instance-ids {one.id}",
            Kind.VOLUME: f"delete-volume --volume-id {one.id}",
            Kind.SPOT_REQUEST: f"cancel-spot-instance-requests --spot-instance-request-ids {one.id}",
            Kind.GROUP: f"delete-security-group --group-id {one.id}",
            Kind.KEY_PAIR: f"delete-key-pair --key-name {shlex.quote(one.id)}",
            Kind.IMAGE: f"deregister-image --image-id {one.id}",
            Kind.SNAPSHOT: f"delete-snapshot --snapshot-id {one.id}",
        }
        ends_with_host = one.kind in (Kind.VOLUME, Kind.SPOT_REQUEST)
        if one.own and (one.instance in self._instances if ends_with_host else True):
            return down
        # An image is removed with its snapshots. EC2 refuses to delete the snapshot of an existing image.
        images = [image.id for image in self._baked if image is one or one.id in image.snapshots]
        if images:
            return shlex.join(["flambe-ans", "bake", "--remove", images[0], *_name_place(self._place)])
        endpoint = f" --endpoint-url {self._place.endpoint}" if self._place.lab else ""
        return f"aws ec2 {commands[one.kind]} --region {self._place.region}{endpoint}"

    def _derive_state(self, resources: Sequence[Resource], hosts: Sequence[Tagged], *, starting: bool) -> State:
        if any(one.orphan for one in resources):
            return State.ORPHANED
        if Kind.INSTANCE in self._denied:
            return State.UNKNOWN
        if starting:
            return State.STARTING
        if hosts:
            return State.RUNNING if any(one.state in ALIVE for one in hosts) else State.STOPPED
        ending = any(one.tagged.state == "shutting-down" for one in resources)
        return State.ENDING if ending else State.ABSENT

    def _is_young(self, one: Tagged) -> bool:
        return one.since is not None and self._age(one) < YOUNG_SECONDS

    def _age(self, one: Tagged) -> float:
        return max((self._now - one.since).total_seconds(), 0.0) if one.since else 0.0


def _add(amounts: Iterable[float | None]) -> float | None:
    known = list(amounts)
    return None if None in known else sum(one for one in known if one is not None)
