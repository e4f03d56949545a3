"""What a client must know of a lab; readable without root, and without moto."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from flambe_ansible.errors import LabError
from flambe_ansible.lab import pidfile, state

CLIENT_FILE = "client.json"


@dataclass(frozen=True, kw_only=True)
class LabInfo:
    """How to use a lab.

    Attributes:
        name: The lab's name.
        endpoint: Where its EC2 and CloudWatch answer, such as ``http://127.0.0.1:40123``.
        region: Its region.
        access_key: The access key made for it.
        secret_key: Its secret; not shown when this is printed.
        subnet_id: Its subnet.
        security_group: Its security group.
        key_name: The name of its key pair.
        key: The path of the pair's private key (0600, the owner's).
        image_id: Its image.
        network: Its address range.
        state_dir: Its folder.
        up: Whether it serves now.
    """

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
        """Give the variables that point any AWS client at the lab."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_DEFAULT_REGION": self.region,
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
        }


@dataclass(frozen=True, kw_only=True)
class LabHost:
    """One instance of a lab, as the daemon last saw it."""

    id: str
    name: str
    state: str
    private_ip: str
    instance_type: str


@dataclass(frozen=True, kw_only=True)
class LabStatus:
    """How a lab is.

    Attributes:
        name: Its name.
        exists: Whether ``lab up`` made it, and ``lab down`` did not end it.
        up: Whether it serves now.
        info: How to use it; None when it does not exist, or belongs to somebody else.
        hosts: Its instances.
    """

    name: str
    exists: bool
    up: bool
    info: LabInfo | None = None
    hosts: tuple[LabHost, ...] = ()


def read(name: str) -> LabInfo | None:
    """Read how to use a lab; None when there is none.

    Raises:
        LabError: It belongs to somebody else.
    """
    folder = state.lab_dir(name)
    try:
        document = state.read_json(folder / CLIENT_FILE)
    except PermissionError as error:
        raise LabError(
            f"the lab {name} belongs to another user", hint="flambe-ans lab up --name a-name-of-your-own"
        ) from error
    if document is None:
        return None
    known: dict[str, Any] = {item.name: document[item.name] for item in fields(LabInfo) if item.name in document}
    known |= {"key": Path(document["key"]), "state_dir": folder, "up": pidfile.find(folder) is not None}
    return LabInfo(**known)
