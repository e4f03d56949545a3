"""A cluster on AWS or in a lab without its file: found by its tags, or by what this machine recorded, to end it."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

from flambe_ansible.cluster.aws import AWSCluster
from flambe_ansible.cluster.lab import LabCluster
from flambe_ansible.ec2.clients import Clients
from flambe_ansible.ec2.tagged import list_tagged
from flambe_ansible.errors import AWSError, ClusterConfigurationError
from flambe_ansible.paths import state_root
from flambe_ansible.providers import places
from flambe_ansible.providers.accounts import open_lab, open_region
from flambe_ansible.validation.fields import NAME_FORM
from flambe_ansible.validation.rules import NAME

_TAG = re.compile(r"^!(\w+)", re.MULTILINE)
_FIELD = r"^{}\s*:\s*[\"']?([\w-]+)"


def find_cluster(name: str, *, region: str | None, lab: str | None, creator: str | None) -> AWSCluster | None:
    """Return a cluster by its name, to terminate it; None if nothing of it exists.

    Args:
        name: Its name.
        region: Its region; None is the locally configured one.
        lab: Its lab instead of a region.
        creator: Its creator; None is the only one who has a cluster of this name there.

    Raises:
        ClusterConfigurationError: It is no name of a cluster, or several creators have a cluster of this name.
        AWSError: A call failed, or it is not allowed to find the creator.
        LabError: The lab is not running.
    """
    if not NAME.fullmatch(name):
        hint = "flambe-ans audit   # lists the clusters of a region"
        raise ClusterConfigurationError(f"name is {name!r}; expected {NAME_FORM}", hint=hint)
    if creator is None:
        creator = _find_creator(name, open_lab(lab) if lab else open_region(region))
    if creator is None:
        return None
    if lab:
        return LabCluster(name, lab=lab, creator=creator, runtime="none")
    return AWSCluster(
        name,
        factories_num=0,
        factories_type="",
        orchestrator_type="",
        creator=creator,
        region_name=region,
        runtime="none",
    )


def write_hint(file: str) -> str:
    """Write the command that terminates the cluster of a file that does not load; "" if AWS and labs do not have it."""
    try:
        text = Path(file).read_text(errors="replace")
    except OSError:
        text = ""
    tag = next(iter(_TAG.findall(text)), "AWSCluster")
    if tag not in ("AWSCluster", "LabCluster"):
        return ""

    def read(field: str, default: str) -> str:
        found = re.search(_FIELD.format(field), text, re.MULTILINE)
        return shlex.quote(found[1]) if found else default

    where = f"--lab {read('lab', 'default')}" if tag == "LabCluster" else f"--region {read('region_name', 'REGION')}"
    return f"flambe-ans down --name {read('name', 'NAME')} {where}   # terminates it without this file"


def _find_creator(name: str, clients: Clients) -> str | None:
    """Return the creator of the only cluster of this name; None if there is none."""
    listing = list_tagged(clients)
    creators = {one.creator for one in listing.found if one.cluster == name and one.creator}
    creators |= {place.creator for place in _list_recorded(name, clients)}
    if not creators and listing.denied:
        denied = ", ".join(sorted(listing.denied.values()))
        raise AWSError(
            f"the creator of cluster {name} cannot be found: not allowed: {denied}", hint="add --creator CREATOR"
        )
    if len(creators) > 1:
        listed = ", ".join(sorted(creators))
        raise ClusterConfigurationError(
            f"{len(creators)} creators have a cluster {name} in {clients.region}: {listed}",
            hint="choose one: --creator CREATOR",
        )
    return next(iter(creators), None)


def _list_recorded(name: str, clients: Clients) -> list[places.Place]:
    """List the clusters of this name that this machine created in the region; EC2 may not show their hosts yet."""
    here = (name, clients.region, clients.endpoint_url or "")
    return [
        one for one in places.read_all(state_root() / "clusters") if (one.cluster, one.region, one.endpoint) == here
    ]
