"""The regions and accounts in which this machine created clusters: one file in each cluster's state folder."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from flambe_ansible.files import write_json

FILE = "places.json"


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a cluster was created.

    Attributes:
        cluster: The cluster's name.
        creator: Its creator.
        endpoint: The API's address, "" for AWS's own.
        region: The region.
        account: The account's id, "" if it is unknown.
    """

    cluster: str
    creator: str
    endpoint: str
    region: str
    account: str

    def __str__(self) -> str:
        return f"{self.region}, account {self.account}" if self.account else self.region


def record(folder: Path, place: Place) -> None:
    """Record that a cluster was created."""
    known = read(folder)
    if place not in known:
        write_json(folder / FILE, [asdict(one) for one in (*known, place)])


def forget(folder: Path, place: Place) -> None:
    """Record that a cluster was terminated."""
    known = read(folder)
    if place in known:
        write_json(folder / FILE, [asdict(one) for one in known if one != place])


def read(folder: Path) -> list[Place]:
    """Read a state folder's records; none if they cannot be read, since only notes depend on them."""
    try:
        return [Place(**entry) for entry in json.loads((folder / FILE).read_text())]
    except (OSError, ValueError, TypeError):
        return []


def find_others(folder: Path, here: Place) -> list[Place]:
    """Find the other places in which this machine created a cluster of the same name and creator.

    An account that is unknown here is taken to be the same.
    """
    found = [place for path in sorted(folder.parent.iterdir()) for place in read(path)]

    def is_other(place: Place) -> bool:
        same = (place.cluster, place.creator, place.endpoint) == (here.cluster, here.creator, here.endpoint)
        elsewhere = place.region != here.region or bool(here.account and place.account not in ("", here.account))
        return same and elsewhere

    return [place for place in found if is_other(place)]
