"""The tags that make instances a cluster, and what follows from them; pure functions."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from flambe_ansible.hosts import Role, factory_name, orchestrator_name

NAME = "Name"
CREATOR = "creator"
PURPOSE = "Purpose"
CLUSTER = "Cluster-Name"
ROLE = "Role"
PURPOSE_VALUE = "flambe"

OWN_KEYS = (NAME, CREATOR, PURPOSE, CLUSTER, ROLE)
WILDCARDS = re.compile(r"[*?\\]")


@dataclass(frozen=True, kw_only=True)
class ClusterTags:
    """What the hosts of one cluster are tagged with.

    Attributes:
        name: The cluster's name.
        creator: Whose cluster it is.
        user_tags: The tags that the user adds.
    """

    name: str
    creator: str
    user_tags: Mapping[str, str] = field(default_factory=dict)

    @property
    def common(self) -> dict[str, str]:
        """The tags that all hosts carry."""
        return {**self.user_tags, CREATOR: self.creator, PURPOSE: PURPOSE_VALUE, CLUSTER: self.name}

    def build(self, role: Role, name: str) -> dict[str, str]:
        """Return all tags of one host (and of its volumes) with this ``Name``."""
        return {**self.common, ROLE: str(role), NAME: name}

    @property
    def filters(self) -> dict[str, list[str]]:
        """The filters that find the cluster's instances.

        EC2 reads ``*``, ``?`` and backslashes in filter values as patterns: a creator with one of them is left to
        ``matches``.
        """
        wanted = {PURPOSE: PURPOSE_VALUE, CLUSTER: self.name, CREATOR: self.creator}
        filters = {f"tag:{key}": [value] for key, value in wanted.items() if not WILDCARDS.search(value)}
        return {**filters, f"tag:{ROLE}": [str(role) for role in Role]}

    def matches(self, tags: Mapping[str, str]) -> bool:
        """Tell whether an instance with these tags belongs to the cluster."""
        own = {CREATOR: self.creator, PURPOSE: PURPOSE_VALUE, CLUSTER: self.name}
        return tags.get(ROLE) in set(Role) and all(tags.get(key) == value for key, value in own.items())


def initial_name(cluster: str, role: Role, indices: Sequence[int] = ()) -> str:
    """Return the name that instances of one request are created with.

    One request gives all its instances the same tags: several factories start with their common base name, and get
    their own right after.
    """
    if role is Role.ORCHESTRATOR:
        return orchestrator_name(cluster)
    return factory_name(cluster, indices[0] if len(indices) == 1 else None)


def read_index(cluster: str, name: str) -> int | None:
    """Read the factory's number from its name, or None where the name has none."""
    match = re.fullmatch(re.escape(factory_name(cluster)) + r"_(0|[1-9][0-9]{0,5})", name)
    return int(match[1]) if match else None


def assign_indices(cluster: str, names: Sequence[str]) -> list[int]:
    """Give each factory its number.

    Args:
        cluster: The cluster's name.
        names: The ``Name`` tags of the factories, the oldest first.

    Returns:
        Their numbers, in the same order: the one in the name, where the name has one and no older factory has the
        same; else the lowest free one.
    """
    wanted: list[int | None] = []
    for name in names:
        index = read_index(cluster, name)
        wanted.append(None if index in wanted else index)
    free = free_indices([index for index in wanted if index is not None], wanted.count(None))
    return [index if index is not None else free.pop(0) for index in wanted]


def free_indices(taken: Iterable[int], number: int) -> list[int]:
    """Return the lowest numbers that are not taken."""
    used, index = set(taken), 0
    found: list[int] = []
    while len(found) < number:
        if index not in used:
            found.append(index)
        index += 1
    return found


def find_outdated(wanted: Mapping[str, str], current: Mapping[str, str]) -> dict[str, str]:
    """Return the tags that are missing or different; tags that are not ours stay."""
    return {key: value for key, value in wanted.items() if current.get(key) != value}
