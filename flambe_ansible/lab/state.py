"""The folders of labs, and their settings as JSON documents."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from flambe_ansible.errors import LabUsageError
from flambe_ansible.files import read_versioned, write_json

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
_SETTINGS = "lab.json"
VERSION = 1  # of the settings

BRIDGE_PREFIX = "fl-"


def root() -> Path:
    """Return the folder of all labs of this machine."""
    return Path("/var/lib/flambe-ansible")


def lab_dir(name: str) -> Path:
    """Return the folder of one lab."""
    if not _NAME.fullmatch(name):
        expected = "expected at most 64 letters, digits, - and _, starting with a letter or digit"
        raise LabUsageError(f"{name!r} is not a valid name for a lab: {expected}")
    return root() / "labs" / name


def images_dir() -> Path:
    """Return the folder of the base images that all labs share."""
    return root() / "images"


def cache_dir() -> Path:
    """Return the folder of the package cache that all hosts share."""
    return root() / "cache"


def short(*parts: str) -> str:
    """Return 8 digits for longer names, for links: the kernel limits their names to 15 bytes."""
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:8]


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The settings of a lab, chosen when it is created and kept in its folder. The owner is the lab's user."""

    name: str
    network: str  # a /24
    port: int  # of its API, on the loopback
    image: str  # the folder of the hosts' base image
    python37: tuple[tuple[str, str], ...] = ()  # folders of Python 3.7, as (path on the machine, path in the host)
    max_hosts: int = 32
    quotas: tuple[tuple[str, int], ...] = ()  # of the account: codes with vCPUs; the others have a large default
    policy: str = ""  # the IAM policy of the lab's key, a JSON document; "" allows everything
    consistency: str = "strong"  # or "eventual", see consistency.py
    console_delay: float = 0.5  # seconds until the console of a new host shows its host keys
    owner_uid: int = 0
    owner_gid: int = 0

    @property
    def folder(self) -> Path:
        """The lab's own folder."""
        return lab_dir(self.name)

    @property
    def layer(self) -> Path:
        """The folder of the machine's settings for hosts; it may contain passwords, so only root enters its parent."""
        return self.folder / "private" / "layer"

    @property
    def image_layers(self) -> Path:
        """The folder of the layers of images of hosts."""
        return self.folder / "private" / "images"

    @property
    def bridge(self) -> str:
        """The name of its bridge."""
        return f"{BRIDGE_PREFIX}{short(self.name)}"

    @property
    def gateway(self) -> str:
        """The machine's address on the lab's network: the first of the range."""
        return self.network.rsplit(".", 1)[0] + ".1"

    @property
    def owner(self) -> tuple[int, int]:
        """The ids of the user that it is for and of that user's group."""
        return self.owner_uid, self.owner_gid


def load(name: str) -> Settings | None:
    """Read a lab's settings; None if it does not exist.

    Raises:
        StateVersionError: Another version of this package wrote them.
    """
    path, remedy = lab_dir(name) / _SETTINGS, "remove the folder of the lab once it has ended"
    try:
        document = read_versioned(path, version=VERSION, remedy=remedy, unversioned=dict)
    except (NotADirectoryError, ValueError):
        return None
    if document is None:
        return None
    known = {field.name: document[field.name] for field in fields(Settings) if field.name in document}
    for name in ("python37", "quotas"):
        known[name] = tuple((a, b) for a, b in known.get(name, ()))
    return Settings(**known)


def save(settings: Settings) -> None:
    """Write a lab's settings."""
    load(settings.name)  # refuses those of another version
    write_json(settings.folder / _SETTINGS, {"version": VERSION, **asdict(settings)})


def all_labs() -> list[Settings]:
    """List the labs of this machine, up or not."""
    folder = root() / "labs"
    names = sorted(entry.name for entry in folder.iterdir()) if folder.is_dir() else []
    return [settings for name in names if _NAME.fullmatch(name) and (settings := load(name))]


def read_json(path: Path) -> Any:
    """Read a JSON document; None if the file does not exist or is not valid JSON."""
    try:
        return json.loads(path.read_text())
    except (FileNotFoundError, NotADirectoryError, json.JSONDecodeError):
        return None
