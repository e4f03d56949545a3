"""Update the names and tags of instances and volumes; up-to-date ones cause no call."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from flambe_ansible.ec2 import api, tags
from flambe_ansible.ec2.instances import IDS_PER_CALL, EC2Instance

if TYPE_CHECKING:
    from mypy_boto3_ec2.client import EC2Client

THREADS = 8


def update_tags(ec2: EC2Client, cluster: tags.ClusterTags, named: Sequence[tuple[str, EC2Instance]]) -> list[str]:
    """Set the cluster's names and tags on instances and volumes, keep other tags; return the changed hosts.

    Volumes that a user attached are left as they are.
    """
    volumes = _read_volume_tags(ec2, [volume for _, instance in named for volume in instance.volumes])
    work: dict[tuple[tuple[str, str], ...], list[str]] = {}
    changed = []
    for name, instance in named:
        wanted = cluster.build(instance.role, name)
        own = [one for one in instance.volumes if _is_own(instance, one, volumes.get(one, {}))]
        current = {instance.id: instance.tags, **{volume: volumes.get(volume, {}) for volume in own}}
        outdated = {resource: tags.find_outdated(wanted, found) for resource, found in current.items()}
        for resource, pairs in outdated.items():
            if pairs:
                work.setdefault(tuple(pairs.items()), []).append(resource)
        if any(outdated.values()):
            changed.append(name)
    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(lambda item: api.create_tags(ec2, item[1], dict(item[0])), work.items()))
    return changed


def name_instance(ec2: EC2Client, instance_id: str, name: str) -> None:
    """Set the ``Name`` tag of one instance."""
    api.create_tags(ec2, [instance_id], {tags.NAME: name})


def _is_own(instance: EC2Instance, volume: str, found: Mapping[str, str]) -> bool:
    """Return whether a volume was created with its instance: the root volume, and those that have our tags."""
    return volume == instance.root_volume or found.get(tags.PURPOSE) == tags.PURPOSE_VALUE


def _read_volume_tags(ec2: EC2Client, ids: Sequence[str]) -> dict[str, dict[str, str]]:
    """Return the tags of volumes, by id."""
    found: dict[str, dict[str, str]] = {}
    for start in range(0, len(ids), IDS_PER_CALL):
        for volume in api.describe_volumes(ec2, {"volume-id": ids[start : start + IDS_PER_CALL]}):
            found[volume["VolumeId"]] = {tag["Key"]: tag["Value"] for tag in volume.get("Tags", [])}
    return found
