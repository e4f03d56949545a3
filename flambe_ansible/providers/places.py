"""The regions and accounts in which this machine created clusters: one file in each cluster's state folder."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from flambe_ansible.files import StateVersionError, read_versioned, write_json

FILE = "places.json"
VERSION = 1


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
        _write(folder, [*known, place])


def forget(folder: Path, place: Place) -> None:
    """Record that a cluster was terminated."""
    known = read(folder)
    if place in known:
        _write(folder, [one for one in known if one != place])


def read(folder: Path) -> list[Place]:
    """Read a state folder's records; none if they are damaged, since only notes depend on them.

    Raises:
        StateVersionError: Another version of this package wrote the file.
    """
    try:
        document = read_versioned(folder / FILE, version=VERSION, remedy="remove it", unversioned=list)
        entries = document["places"] if isinstance(document, dict) else document or []
        return [Place(**entry) for entry in entries]
    except (OSError, ValueError, TypeError, KeyError):
        return []


def read_all(root: Path) -> list[Place]:
    """Read the records of all state folders; those of another version are left out."""
    found = []
    for folder in sorted(root.iterdir()) if root.is_dir() else ():
        with suppress(StateVersionError):
            found += read(folder)
    return found


def _write(folder: Path, places: Sequence[Place]) -> None:
    write_json(folder / FILE, {"version": VERSION, "places": [asdict(one) for one in places]})


def find_others(folder: Path, here: Place) -> list[Place]:
    """Find the other places in which this machine created a cluster of the same name and creator.

    An account that is unknown here is taken to be the same.
    """
    found = read_all(folder.parent)

    def is_other(place: Place) -> bool:
        same = (place.cluster, place.creator, place.endpoint) == (here.cluster, here.creator, here.endpoint)
        elsewhere = place.region != here.region or bool(here.account and place.account not in ("", here.account))
        return same and elsewhere

    return [place for place in found if is_other(place)]
