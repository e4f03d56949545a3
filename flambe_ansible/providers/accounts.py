"""The API of a region or of a lab, for commands that are not about the file of one cluster."""

from __future__ import annotations

from flambe_ansible import lab as labs
from flambe_ansible.ec2 import session
from flambe_ansible.ec2.clients import Clients
from flambe_ansible.ec2.errors import Lab
from flambe_ansible.lab.client import words


def open_region(region: str | None) -> Clients:
    """Return the clients of a region with the local credentials; None is the locally configured region."""
    return Clients(lambda: session.make_session(region), lambda: None)


def open_lab(name: str) -> Clients:
    """Return the clients of a lab.

    Raises:
        LabError: The lab is not running.
    """
    info = labs.info(name)
    made = make_lab_session(info)
    return Clients(lambda: made, lambda: info.endpoint)


def make_lab_session(info: labs.LabInfo) -> session.Session:
    """Make a session with the credentials and the region of a lab."""
    lab = Lab(name=info.name, start=f"sudo flambe-ans {words('up', info.name)}")
    return session.make_isolated_session(info.region, access_key=info.access_key, secret_key=info.secret_key, lab=lab)
