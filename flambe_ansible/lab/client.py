"""How to reach a lab: readable without root and without moto."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from flambe_ansible.errors import LabError
from flambe_ansible.lab import pidfile, state

DEFAULT = "default"  # the name of a lab
CLIENT_FILE = "client.json"
HOSTS_FILE = "hosts.json"


@dataclass(frozen=True, kw_only=True)
class LabInfo:
    """How to reach a lab. Only its owner can read ``key``, the path of the key pair's private key."""

    name: str
    endpoint: str
    region: str
    access_key: str
    secret_key: str = field(repr=False)
    subnet_id: str
    security_group: str
    key_name: str
    key: Path
    image_id: str
    network: str
    state_dir: Path
    up: bool

    def environment(self) -> dict[str, str]:
        """Return the variables that point AWS clients at the lab."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_DEFAULT_REGION": self.region,
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
        }


@dataclass(frozen=True, kw_only=True)
class LabHost:
    """One instance of a lab, as the daemon last recorded it."""

    id: str
    name: str
    state: str
    private_ip: str
    instance_type: str


@dataclass(frozen=True, kw_only=True)
class LabStatus:
    """The state of a lab: it exists from ``lab up`` to ``lab down``, and is up while its daemon runs."""

    name: str
    exists: bool
    up: bool
    info: LabInfo | None = None
    hosts: tuple[LabHost, ...] = ()


def read(name: str) -> LabInfo | None:
    """Read how to reach a lab; None if it does not exist."""
    folder = state.lab_dir(name)
    try:
        document = state.read_json(folder / CLIENT_FILE)
    except PermissionError as error:
        hint = "sudo flambe-ans lab up --name another-name"
        raise LabError(f"the lab {name} belongs to another user", hint=hint) from error
    if document is None:
        return None
    known: dict[str, Any] = {item.name: document[item.name] for item in fields(LabInfo) if item.name in document}
    known |= {"key": Path(document["key"]), "state_dir": folder, "up": pidfile.find(folder) is not None}
    return LabInfo(**known)


def status(name: str = DEFAULT) -> LabStatus:
    """Return the state of a lab; does not need root."""
    folder = state.lab_dir(name)
    known = read(name)
    if known is None:
        return LabStatus(name=name, exists=folder.is_dir(), up=pidfile.find(folder) is not None)
    hosts = tuple(LabHost(**row) for row in state.read_json(folder / HOSTS_FILE) or ())
    return LabStatus(name=name, exists=True, up=known.up, info=known, hosts=hosts)


def get_info(name: str = DEFAULT) -> LabInfo:
    """Return how to reach a lab that is up; does not need root."""
    known = read(name)
    if known is None or not known.up:
        raise LabError(f"the lab {name} is not up", hint=f"sudo flambe-ans {words('up', name)}")
    return known


def words(verb: str, name: str) -> str:
    """Return the command for a lab: ``lab up``, ``lab up --name other``."""
    return f"lab {verb}" if name == DEFAULT else f"lab {verb} --name {name}"
