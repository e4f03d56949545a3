"""The tags by which a cluster's instances and resources are found, and the names in them; pure functions."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count, islice
from typing import Any

from flambe_ansible.hosts import Role, factory_name, orchestrator_name

NAME = "Name"
CREATOR = "creator"
PURPOSE = "Purpose"
CLUSTER = "Cluster-Name"
ROLE = "Role"
PURPOSE_VALUE = "flambe"
# Of baked images, and of the hosts made from them.
RECIPE = "Flambe-Recipe"  # the digest of what is installed
RUNTIME = "Flambe-Runtime"  # what is installed, in words
BASE = "Flambe-Base"  # the image that it was made of
BAKING = "Flambe-Bake"  # of temporary hosts: the start of the recipe whose image is made of them
MAX_TAGS = 50  # https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/Using_Tags.html#tag-restrictions

WILDCARDS = re.compile(r"[*?\\]")


@dataclass(frozen=True, kw_only=True)
class ClusterTags:
    """The tags of one cluster's hosts."""

    name: str
    creator: str
    user_tags: Mapping[str, str] = field(default_factory=dict)

    @property
    def common(self) -> dict[str, str]:
        """The tags that all hosts have."""
        return {**self.user_tags, CREATOR: self.creator, PURPOSE: PURPOSE_VALUE, CLUSTER: self.name}

    def build(self, role: Role, name: str) -> dict[str, str]:
        """Return all tags of one host (and of its volumes) with this ``Name``."""
        return {**self.common, ROLE: str(role), NAME: name}

    @property
    def filters(self) -> dict[str, list[str]]:
        """The filters that find the cluster's instances."""
        return {**self.resource_filters, f"tag:{ROLE}": [str(role) for role in Role]}

    def matches(self, tags: Mapping[str, str]) -> bool:
        """Return whether an instance with these tags belongs to the cluster."""
        return tags.get(ROLE) in set(Role) and self.owns(tags)

    @property
    def resource_name(self) -> str:
        """The name of the cluster's security group and key pair; clusters of other creators have others."""
        return f"flambe-{self.name}-{hashlib.sha256(self.creator.encode()).hexdigest()[:8]}"

    @property
    def resource_filters(self) -> dict[str, list[str]]:
        """The filters that find everything that was created for the cluster.

        EC2 treats ``*``, ``?`` and backslashes in filter values as patterns: ``owns`` checks such values instead.
        """
        wanted = {PURPOSE: PURPOSE_VALUE, CLUSTER: self.name, CREATOR: self.creator}
        return {f"tag:{key}": [value] for key, value in wanted.items() if not WILDCARDS.search(value)}

    def owns(self, tags: Mapping[str, str]) -> bool:
        """Return whether something with these tags was created for the cluster."""
        own = {CREATOR: self.creator, PURPOSE: PURPOSE_VALUE, CLUSTER: self.name}
        return own.items() <= tags.items()

    def specify(self, kind: str) -> list[dict[str, Any]]:
        """Build the ``TagSpecifications`` of a request that creates a resource of this kind for the cluster."""
        pairs = {**self.common, NAME: self.resource_name}
        return [{"ResourceType": kind, "Tags": [{"Key": key, "Value": value} for key, value in pairs.items()]}]


def initial_name(cluster: str, role: Role, indices: Sequence[int] = ()) -> str:
    """Return the ``Name`` tag of the instances that one request creates.

    All of them have the same tags: several factories get their common base name, and are named individually afterwards.
    """
    if role is Role.ORCHESTRATOR:
        return orchestrator_name(cluster)
    return factory_name(cluster, indices[0] if len(indices) == 1 else None)


def read_index(cluster: str, name: str) -> int | None:
    """Read a factory's index from its name; None if the name has none."""
    match = re.fullmatch(re.escape(factory_name(cluster)) + r"_(0|[1-9][0-9]{0,5})", name)
    return int(match[1]) if match else None


def assign_indices(cluster: str, names: Sequence[str]) -> list[int]:
    """Assign each factory (the oldest first) an index: the one in its name, or the lowest free one.

    An index that an older factory has in its name does not count.
    """
    wanted: list[int | None] = []
    for name in names:
        index = read_index(cluster, name)
        wanted.append(None if index in wanted else index)
    free = free_indices([index for index in wanted if index is not None], wanted.count(None))
    return [index if index is not None else free.pop(0) for index in wanted]


def free_indices(taken: Iterable[int], number: int) -> list[int]:
    """Return the lowest indices that are not taken."""
    used = set(taken)
    return list(islice((index for index in count() if index not in used), number))


def find_outdated(wanted: Mapping[str, str], current: Mapping[str, str]) -> dict[str, str]:
    """Return the wanted tags that are missing or different."""
    return {key: value for key, value in wanted.items() if current.get(key) != value}
