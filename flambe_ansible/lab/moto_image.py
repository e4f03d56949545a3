"""The lab's image as moto keeps it; imported by the daemon alone."""

from __future__ import annotations

from typing import Any

from moto.ec2.models.amis import Ami

ROOT_GIB = 8


class LabImage(Ami):  # type: ignore[misc,unused-ignore]
    """An image whose root volume is small and goes with its instance, as Canonical's are; moto's own do neither."""

    @property
    def block_device_mappings(self) -> list[dict[str, Any]]:
        """The volumes of an instance made from it."""
        volume = {"VolumeSize": ROOT_GIB, "DeleteOnTermination": True, "VolumeType": "gp3", "Encrypted": False}
        return [{"DeviceName": self.root_device_name, "Ebs": {"SnapshotId": self.ebs_snapshot.id, **volume}}]
