"""Images of prepared hosts, which ``flambe-ans bake`` makes: create, find and remove them.

Their tags have what the launch compares: a digest of what is installed (the recipe), and the image that they were made
of (the base). Only images of the account itself count: anyone can tag a public image.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from flambe_ansible.ec2 import api, images
from flambe_ansible.ec2.errors import ThrottledError, UnclearAnswerError, aws_call
from flambe_ansible.ec2.images import Image
from flambe_ansible.ec2.tags import BASE, CLUSTER, CREATOR, RECIPE, RUNTIME
from flambe_ansible.errors import AWSError

if TYPE_CHECKING:
    from mypy_boto3_ec2.client import EC2Client
    from mypy_boto3_ec2.type_defs import ImageTypeDef, InstanceTypeInfoTypeDef

AVAILABLE, PENDING = "available", "pending"
TAKEN = "InvalidAMIName.Duplicate"
VISIBLE_SECONDS = 90.0  # the time EC2 may need until it shows a new image
WAIT_SECONDS = 3600.0  # the first snapshot of a large volume takes long
POLL_SECONDS = 2.0
RETRY_PAUSES = (1.0, 2.0, 5.0, 10.0)  # seconds before an unclear or throttled request is repeated


@dataclass(frozen=True, kw_only=True)
class BakedImage:
    """An image of a prepared host.

    Attributes:
        id: Its id.
        name: Its name, unique in the account and region.
        state: ``pending``, ``available``, or ``failed`` and other final states of EC2.
        recipe: The digest of what is installed.
        base: The image that it was made of: a configured id, or a name of the default image.
        runtime: What is installed, in words.
        cluster: The name of the cluster whose file it was made with.
        creator: Its creator.
        created: The time of its creation; None if EC2 does not show it.
        size: The smallest root volume that it fits on, GB.
        architecture: The processor that it is for.
        root_device: The device name of the root volume.
        snapshots: The ids of its snapshots.
        stored: The size of the volumes of its snapshots, GB: at most so much is stored.
        reason: EC2's reason for its state, or "".
    """

    id: str
    name: str
    state: str
    recipe: str
    base: str
    runtime: str
    cluster: str
    creator: str
    created: datetime | None
    size: int
    architecture: str
    root_device: str
    snapshots: tuple[str, ...]
    stored: int
    reason: str

    @property
    def image(self) -> Image:
        """The image for new hosts."""
        day = f"{self.created:%Y-%m-%d}" if self.created else "earlier"
        return Image(
            id=self.id,
            origin=f"baked {day} with {self.runtime}",
            root_device=self.root_device,
            architecture=self.architecture,
            size=self.size,
            state=self.state,
            base=self.base,
        )


def name_base(configured: str | None, info: InstanceTypeInfoTypeDef) -> str:
    """Name the image that hosts of an instance type get without a baked one: its id, or a name of the default image."""
    gpu = "-gpu" if images.wants_gpu_image(info) else ""
    return configured or f"ubuntu-{images.find_architecture(info)}{gpu}"


def find_all(ec2: EC2Client, *, recipe: str = "") -> list[BakedImage]:
    """Return the baked images of the account in the region, in any state, the newest first.

    Args:
        ec2: The client.
        recipe: Return only images with this digest.
    """
    filters = {f"tag:{RECIPE}": [recipe]} if recipe else {"tag-key": [RECIPE]}
    found = [_read(one) for one in api.find_images(ec2, "self", filters)]
    return sorted(found, key=lambda one: one.created or datetime.min.replace(tzinfo=UTC), reverse=True)


def choose(found: Iterable[BakedImage], *, base: str, architecture: str, size: int) -> BakedImage | None:
    """Return the newest available image with this base that fits on a root volume of this size (GB)."""
    fitting = (one for one in found if one.state == AVAILABLE and one.base == base and one.size <= size)
    return next((one for one in fitting if one.architecture == architecture), None)


def create(ec2: EC2Client, instance_id: str, *, name: str, description: str, tags: Mapping[str, str]) -> str:
    """Start to make an image of a stopped instance, and return its id; its snapshots get the same tags.

    CreateImage has no client token, but refuses a second image of the same name: so it can be repeated. The snapshots
    of encrypted volumes are encrypted; CreateImage cannot change that.
    https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_CreateImage.html

    Raises:
        AWSError: It failed.
    """
    pauses = iter(RETRY_PAUSES)
    while True:
        try:
            return _create_image(ec2, instance_id, name, description, tags)
        except AWSError as error:
            if error.code == TAKEN and (image_id := _find_by_name(ec2, name)):
                return image_id
            repeatable = isinstance(error, ThrottledError | UnclearAnswerError) or error.code == TAKEN
            pause = next(pauses, None) if repeatable else None
            if pause is None:
                raise
        time.sleep(pause)


def wait_for(ec2: EC2Client, ids: Sequence[str]) -> list[BakedImage]:
    """Wait until images are available.

    Raises:
        AWSError: An image failed, EC2 no longer shows it, or it is not available in time.
    """
    started = time.monotonic()
    while True:
        found = {one.id: one for one in find_all(ec2)}
        elapsed = time.monotonic() - started
        for one in ids:
            if (one not in found and elapsed > VISIBLE_SECONDS) or (
                one in found and found[one].state not in (AVAILABLE, PENDING)
            ):
                why = f"is {found[one].state}: {found[one].reason or 'no reason'}" if one in found else "does not exist"
                raise AWSError(f"image {one} {why}", operation="DescribeImages", hint="bake again")
        if all(one in found and found[one].state == AVAILABLE for one in ids):
            return [found[one] for one in ids]
        if elapsed > WAIT_SECONDS:
            raise AWSError(
                f"images are not available after {elapsed:.0f} s: {', '.join(ids)}",
                operation="DescribeImages",
                hint="bake again: it waits for them",
            )
        time.sleep(POLL_SECONDS)


def remove(ec2: EC2Client, image: BakedImage) -> None:
    """Deregister an image and delete its snapshots; hosts that were made from it are unchanged.

    https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DeregisterImage.html (DeleteAssociatedSnapshots)
    """
    _deregister_image(ec2, image.id)


@aws_call("create an image")
def _create_image(ec2: EC2Client, instance_id: str, name: str, description: str, tags: Mapping[str, str]) -> str:
    pairs = [{"Key": key, "Value": value} for key, value in tags.items()]
    kinds = ("image", "snapshot")
    specification = [{"ResourceType": kind, "Tags": pairs} for kind in kinds]
    made = ec2.create_image(
        InstanceId=instance_id,
        Name=name,
        Description=description,
        TagSpecifications=specification,  # type: ignore[arg-type]
    )
    return made["ImageId"]


@aws_call("remove an image")
def _deregister_image(ec2: EC2Client, image_id: str) -> None:
    ec2.deregister_image(ImageId=image_id, DeleteAssociatedSnapshots=True)


def _find_by_name(ec2: EC2Client, name: str) -> str:
    """Return the id of the account's image of this name; "" if EC2 does not show it yet."""
    return next((one["ImageId"] for one in api.find_images(ec2, "self", {"name": [name]})), "")


def _read(image: ImageTypeDef) -> BakedImage:
    tags = {tag["Key"]: tag["Value"] for tag in image.get("Tags", [])}
    disks = [one["Ebs"] for one in image.get("BlockDeviceMappings", []) if "Ebs" in one]
    created = image.get("CreationDate", "")
    return BakedImage(
        id=image["ImageId"],
        name=image.get("Name", ""),
        state=str(image.get("State", "")),
        recipe=tags.get(RECIPE, ""),
        base=tags.get(BASE, ""),
        runtime=tags.get(RUNTIME, ""),
        cluster=tags.get(CLUSTER, ""),
        creator=tags.get(CREATOR, ""),
        created=datetime.fromisoformat(created) if created else None,
        size=max((disk.get("VolumeSize", 0) for disk in disks), default=0),
        architecture=str(image.get("Architecture", "")),
        root_device=image.get("RootDeviceName", "/dev/sda1"),
        snapshots=tuple(disk["SnapshotId"] for disk in disks if disk.get("SnapshotId")),
        stored=sum(disk.get("VolumeSize", 0) for disk in disks),
        reason=image.get("StateReason", {}).get("Message", ""),
    )
