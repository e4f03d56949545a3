"""Everything in a region that has the tags of a cluster, of any cluster and creator."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from flambe_ansible.ec2 import alarms, api
from flambe_ansible.ec2.clients import Clients
from flambe_ansible.ec2.errors import is_denied
from flambe_ansible.ec2.tags import (
    BAKING,
    BASE,
    CLUSTER,
    CREATOR,
    NAME,
    PURPOSE,
    PURPOSE_VALUE,
    RECIPE,
    ROLE,
    ClusterTags,
)
from flambe_ansible.errors import AWSError
from flambe_ansible.hosts import Role

FILTERS = {f"tag:{PURPOSE}": [PURPOSE_VALUE], "tag-key": [CLUSTER]}
# EC2 shows an instance for an hour after its end, and a spot request for hours.
ENDED = ("terminated", "closed", "cancelled", "failed")
_OWNER = re.compile(r"flambe cluster (\S+) of (.+): terminates ")  # ``alarms.describe_owner``, in a description


class Kind(StrEnum):
    """The kind of a resource."""

    INSTANCE = "instance"
    VOLUME = "volume"
    ALARM = "alarm"
    SPOT_REQUEST = "spot request"
    GROUP = "security group"
    KEY_PAIR = "key pair"
    IMAGE = "image"
    SNAPSHOT = "snapshot"


@dataclass(frozen=True, kw_only=True)
class Tagged:
    """One resource with the tags of a cluster.

    Attributes:
        kind: Its kind.
        id: Its id; the name of an alarm or of a key pair.
        cluster: The name of its cluster.
        creator: The creator of its cluster, "" if it has no such tag.
        name: Its own name.
        state: Its state in AWS's words, "" if it has none.
        since: The time of its creation, or of an instance's last start; None if AWS does not show it.
        role: The role of an instance; None without one.
        instance: The id of the instance that it belongs to, or "".
        type: The instance type, or the type of a volume.
        size: The size of a volume or snapshot in GB.
        recipe: Of an image that ``flambe-ans bake`` made, and of its snapshots: the digest of what is installed; or "".
        base: The image that it was made of, or "".
        snapshots: The ids of the snapshots of an image.
        baking: Of a temporary host of ``flambe-ans bake``: the start of the recipe of its image; or "".
        own: Whether ``flambe-ans down`` may remove it; False if it has the tags, but was not made by a launch.
    """

    kind: Kind
    id: str
    cluster: str
    creator: str
    name: str = ""
    state: str = ""
    since: datetime | None = None
    role: Role | None = None
    instance: str = ""
    type: str = ""
    size: int = 0
    recipe: str = ""
    base: str = ""
    snapshots: tuple[str, ...] = ()
    baking: str = ""
    own: bool = True


@dataclass(frozen=True, kw_only=True)
class Listing:
    """What a region has: the resources, and the missing permission of each kind that could not be listed."""

    found: tuple[Tagged, ...]
    denied: Mapping[Kind, str]


def list_tagged(clients: Clients) -> Listing:
    """List everything in a region that has the tags of a cluster, without what has ended.

    Alarms have no tags; their descriptions name the cluster.

    Raises:
        AWSError: A list failed for another reason than a missing permission.
    """
    found: list[Tagged] = []
    denied: dict[Kind, str] = {}
    for kind, (permission, read) in _LISTS.items():
        try:
            found += [one for one in read(clients) if kind is Kind.IMAGE or one.state not in ENDED]
        except AWSError as error:
            if not is_denied(error):
                raise
            denied[kind] = permission
    return Listing(found=tuple(found), denied=denied)


def _read_instances(clients: Clients) -> Iterator[Tagged]:
    for one, facts in _own(api.describe_instances(clients.ec2, FILTERS)):
        role = next(
            (Role(tag["Value"]) for tag in one["Tags"] if tag["Key"] == ROLE and tag["Value"] in set(Role)), None
        )
        yield Tagged(
            kind=Kind.INSTANCE,
            id=one["InstanceId"],
            state=one["State"]["Name"],
            since=one.get("LaunchTime"),
            role=role,
            type=one.get("InstanceType", ""),
            baking=next((tag["Value"] for tag in one["Tags"] if tag["Key"] == BAKING), ""),
            own=role is not None and bool(facts["creator"]),
            **facts,
        )


def _read_volumes(clients: Clients) -> Iterator[Tagged]:
    for one, facts in _own(api.describe_volumes(clients.ec2, FILTERS)):
        attached: Mapping[str, Any] = next(iter(one.get("Attachments", [])), {})
        yield Tagged(
            kind=Kind.VOLUME,
            id=one["VolumeId"],
            state=one.get("State", ""),
            since=one.get("CreateTime"),
            instance=attached.get("InstanceId", ""),
            type=one.get("VolumeType", ""),
            size=one.get("Size", 0),
            **facts,
        )


def _read_alarms(clients: Clients) -> Iterator[Tagged]:
    for one in api.find_alarms(clients.cloudwatch, alarms.PREFIX):
        if owner := _OWNER.match(one.get("AlarmDescription", "")):
            yield Tagged(
                kind=Kind.ALARM,
                id=one["AlarmName"],
                cluster=owner[1],
                creator=owner[2],
                name=one["AlarmName"],
                state=one.get("StateValue", ""),
                since=one.get("AlarmConfigurationUpdatedTimestamp"),
                instance=alarms.read_instance_id(one["AlarmName"]),
            )


def _read_spot_requests(clients: Clients) -> Iterator[Tagged]:
    for one, facts in _own(api.describe_spot_requests(clients.ec2, FILTERS)):
        yield Tagged(
            kind=Kind.SPOT_REQUEST,
            id=one["SpotInstanceRequestId"],
            state=one.get("State", ""),
            since=one.get("CreateTime"),
            instance=one.get("InstanceId", ""),
            **facts,
        )


def _read_groups(clients: Clients) -> Iterator[Tagged]:
    for one, facts in _own(api.find_security_groups(clients.ec2, FILTERS)):
        facts["name"] = one.get("GroupName", "")
        yield Tagged(kind=Kind.GROUP, id=one["GroupId"], own=_has_own_name(facts), **facts)


def _read_key_pairs(clients: Clients) -> Iterator[Tagged]:
    for one, facts in _own(api.describe_key_pairs(clients.ec2)):
        facts["name"] = one.get("KeyName", "")
        yield Tagged(
            kind=Kind.KEY_PAIR, id=facts["name"], since=one.get("CreateTime"), own=_has_own_name(facts), **facts
        )


def _read_images(clients: Clients) -> Iterator[Tagged]:
    for one, facts in _own(api.find_images(clients.ec2, "self", FILTERS)):
        created = one.get("CreationDate", "")
        since = datetime.fromisoformat(created) if created else None
        disks = [disk.get("Ebs", {}) for disk in one.get("BlockDeviceMappings", [])]
        yield Tagged(
            kind=Kind.IMAGE,
            id=one["ImageId"],
            state=one.get("State", ""),
            since=since,
            snapshots=tuple(disk["SnapshotId"] for disk in disks if "SnapshotId" in disk),
            own=False,
            **_read_recipe(one),
            **facts,
        )


def _read_snapshots(clients: Clients) -> Iterator[Tagged]:
    for one, facts in _own(api.describe_snapshots(clients.ec2, FILTERS)):
        yield Tagged(
            kind=Kind.SNAPSHOT,
            id=one["SnapshotId"],
            state=one.get("State", ""),
            since=one.get("StartTime"),
            size=one.get("VolumeSize", 0),
            own=False,
            **_read_recipe(one),
            **facts,
        )


_LISTS: Mapping[Kind, tuple[str, Callable[[Clients], Iterator[Tagged]]]] = {
    Kind.INSTANCE: ("ec2:DescribeInstances", _read_instances),
    Kind.VOLUME: ("ec2:DescribeVolumes", _read_volumes),
    Kind.ALARM: ("cloudwatch:DescribeAlarms", _read_alarms),
    Kind.SPOT_REQUEST: ("ec2:DescribeSpotInstanceRequests", _read_spot_requests),
    Kind.GROUP: ("ec2:DescribeSecurityGroups", _read_groups),
    Kind.KEY_PAIR: ("ec2:DescribeKeyPairs", _read_key_pairs),
    Kind.IMAGE: ("ec2:DescribeImages", _read_images),
    Kind.SNAPSHOT: ("ec2:DescribeSnapshots", _read_snapshots),
}


def _own(described: Iterable[Any]) -> Iterator[tuple[Mapping[str, Any], dict[str, Any]]]:
    """Yield each description with the tags of a cluster, and what its tags mean; other descriptions are left out."""
    for one in described:
        tags = {tag["Key"]: tag["Value"] for tag in one.get("Tags", [])}
        if tags.get(PURPOSE) != PURPOSE_VALUE or not tags.get(CLUSTER):
            continue
        yield one, {"cluster": tags[CLUSTER], "creator": tags.get(CREATOR, ""), "name": tags.get(NAME, "")}


def _read_recipe(described: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the tags of a baked image, or of its snapshot, mean."""
    tags = {tag["Key"]: tag["Value"] for tag in described.get("Tags", [])}
    return {"recipe": tags.get(RECIPE, ""), "base": tags.get(BASE, "")}


def _has_own_name(facts: Mapping[str, str]) -> bool:
    """Return whether a security group or key pair has the name of those that a launch creates."""
    return facts["name"] == ClusterTags(name=facts["cluster"], creator=facts["creator"]).resource_name
