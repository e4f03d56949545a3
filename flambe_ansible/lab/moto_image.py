"""The lab's images in moto; only the daemon imports this module."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from moto.ec2.models.amis import Ami
from moto.ec2.utils import random_ami_id

_VOLUME = {"VolumeSize": 8, "VolumeType": "gp3", "Encrypted": False}


class LabImage(Ami):  # type: ignore[misc,unused-ignore]
    """An image whose root volume is described as on EC2, and ends with its instance."""

    layers: tuple[str, ...] = ()  # the folders of its files, uppermost first
    volume: Mapping[str, Any] = _VOLUME
    reboot: bool = True  # the source instance is stopped while its disk is captured
    source_image_id: str | None = None

    @property
    def block_device_mappings(self) -> list[dict[str, Any]]:
        """The volumes of an instance made from it."""
        volume = {"SnapshotId": self.ebs_snapshot.id, "DeleteOnTermination": True, **self.volume}
        return [{"DeviceName": self.root_device_name, "Ebs": volume}]


def make_host_image(ec2: Any, instance: Any, name: str, description: str) -> LabImage:
    """Make the pending image of an instance, with its snapshot."""
    image_id = random_ami_id()
    image = LabImage(
        ec2,
        image_id,
        name=name,
        description=description,
        state="pending",
        architecture=instance.architecture,
        virtualization_type=instance.virtualization_type,
        hypervisor="xen",
        image_location=f"{ec2.account_id}/{name}",
        root_device_type="ebs",
        root_device_name=instance.root_device_name,
        snapshot_description=f"Created by CreateImage({instance.id}) for {image_id}",
    )
    image.instance_id = instance.id
    image.source_image_id = instance.image_id
    image.ebs_snapshot.status = "pending"
    root = instance.block_device_mapping.get(instance.root_device_name)
    volume = ec2.volumes.get(root.volume_id) if root else None
    if volume is not None:
        image.volume = {"VolumeSize": volume.size, "VolumeType": volume.volume_type, "Encrypted": volume.encrypted}
        image.ebs_snapshot.volume = volume
        image.ebs_snapshot.encrypted = volume.encrypted
    return image
