"""Find the image of a host.

Images are never found by tag alone, because anyone can tag a public image. An image is set by the user, named by an
SSM parameter that AWS publishes for its owner, or found in the owner's account.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from flambe_ansible.ec2 import api, gpus
from flambe_ansible.ec2.errors import UnclearAnswerError
from flambe_ansible.errors import AWSError

if TYPE_CHECKING:
    from mypy_boto3_ec2.client import EC2Client
    from mypy_boto3_ec2.type_defs import ImageTypeDef, InstanceTypeInfoTypeDef
    from mypy_boto3_ssm.client import SSMClient

X86, ARM = "x86_64", "arm64"  # EC2's names of the architectures


@dataclass(frozen=True)
class _Release:
    """An Ubuntu LTS release that the roles support."""

    version: str
    codename: str
    volume: str  # the type of the root volume in the name of its SSM parameter


# The preferred one first.
RELEASES = (_Release("24.04", "noble", "gp3"), _Release("22.04", "jammy", "gp2"))

# https://documentation.ubuntu.com/aws/aws-how-to/instances/find-ubuntu-images/
CANONICAL = {"aws": "099720109477", "aws-cn": "837727238323", "aws-us-gov": "513442679011"}
UBUNTU_PARAMETER = "/aws/service/canonical/ubuntu/server/{release}/stable/current/{debian}/hvm/ebs-{volume}/ami-id"
UBUNTU_NAME = "ubuntu/images/hvm-ssd*/ubuntu-{codename}-{release}-{debian}-server-*"

# https://docs.aws.amazon.com/dlami/latest/devguide/find-dlami-id.html
GPU_PARAMETER = "/aws/service/deeplearning/ami/{architecture}/base-oss-nvidia-driver-gpu-ubuntu-{release}/latest/ami-id"
GPU_NAME = "Deep Learning{label} Base OSS Nvidia Driver GPU AMI (Ubuntu {release}) *"
GPU_OWNER = "amazon"

# The open kernel modules of these images need a GPU of the Turing generation or newer.
LOWEST_CAPABILITY = 7.5


@dataclass(frozen=True, kw_only=True)
class Image:
    """An image."""

    id: str
    origin: str  # a description for the user
    root_device: str  # the device name of the root volume
    architecture: str
    size: int  # the smallest root volume that it fits on, GB
    state: str  # only "available" images can be used
    base: str = ""  # of a baked image: the image that it was made of


@dataclass(frozen=True)
class _Source:
    """One publisher's image for one release: an SSM parameter, else a name in the owner's account."""

    parameter: str
    owner: str
    name: str
    words: str
    architecture: str


def find_architecture(info: InstanceTypeInfoTypeDef) -> str:
    """Return the architecture of a type; "" if it is neither x86_64 nor arm64."""
    supported = info.get("ProcessorInfo", {}).get("SupportedArchitectures", [])
    return next((one for one in (X86, ARM) if one in supported), "")


def wants_gpu_image(info: InstanceTypeInfoTypeDef) -> bool:
    """Return whether a type has NVIDIA GPUs that the deep learning image supports."""
    capability = gpus.read_capability(info)
    return capability is not None and capability >= LOWEST_CAPABILITY


def has_undriven_gpu(info: InstanceTypeInfoTypeDef) -> bool:
    """Return whether a type has GPUs for which the default image has no driver."""
    return bool(info.get("GpuInfo", {}).get("Gpus")) and not wants_gpu_image(info)


def get_image(ec2: EC2Client, image_id: str, *, origin: str) -> Image:
    """Return an image by its id; ``AWSError`` if this account cannot use it."""
    found = api.describe_images(ec2, [image_id])
    if not found:
        raise AWSError(
            f"there is no image {image_id} that this account can use in this region",
            operation="DescribeImages",
            code="InvalidAMIID.NotFound",
        )
    return _read(found[0], origin)


def find_default_for(ec2: EC2Client, ssm: SSMClient, instance_type: str) -> Image:
    """Find the default image for hosts of an instance type."""
    info = api.describe_instance_type(ec2, instance_type)
    return find_default(ec2, ssm, gpu=wants_gpu_image(info), architecture=find_architecture(info))


def find_default(ec2: EC2Client, ssm: SSMClient, *, gpu: bool = False, architecture: str = X86) -> Image:
    """Find the newest Ubuntu LTS image, with NVIDIA's driver if ``gpu`` is set; SSM parameters are read first."""
    sources = _list_sources(ec2.meta.partition, gpu=gpu, architecture=architecture)
    for source in sources:
        if image_id := _read_parameter(ssm, source.parameter):
            return get_image(ec2, image_id, origin=f"{source.words}, {source.parameter}")
    for source in sources:
        if found := _find_newest(ec2, source):
            return _read(found, f"{source.words}, newest of account {source.owner}")
    raise AWSError(
        "found no Ubuntu image in this region",
        operation="DescribeImages",
        hint="set the image of every role explicitly",
    )


def _list_sources(partition: str, *, gpu: bool, architecture: str) -> Sequence[_Source]:
    """List the sources of the default image, the preferred one first."""
    if gpu:
        parameter, owner, name = GPU_PARAMETER, GPU_OWNER, GPU_NAME
    else:
        parameter, owner, name = UBUNTU_PARAMETER, CANONICAL.get(partition, CANONICAL["aws"]), UBUNTU_NAME
    origin = "with NVIDIA driver (AWS Deep Learning Base)" if gpu else "by Canonical"
    is_arm = architecture == ARM
    words = {
        "architecture": architecture,
        "debian": "arm64" if is_arm else "amd64",
        "label": " ARM64" if is_arm else "",
    }
    return [
        _Source(
            parameter.format(release=one.version, volume=one.volume, **words),
            owner,
            name.format(release=one.version, codename=one.codename, **words),
            f"Ubuntu {one.version} {origin}",
            architecture,
        )
        for one in RELEASES
    ]


def _read_parameter(ssm: SSMClient, name: str) -> str | None:
    """Read a public parameter; None if it is missing or this account cannot read it."""
    try:
        return api.get_parameter(ssm, name)
    except AWSError as error:
        if isinstance(error, UnclearAnswerError) or not error.code:
            raise
        return None


def _find_newest(ec2: EC2Client, source: _Source) -> ImageTypeDef | None:
    """Find the newest image with this name in its owner's account."""
    filters = {
        "name": [source.name],
        "architecture": [source.architecture],
        "root-device-type": ["ebs"],
        "virtualization-type": ["hvm"],
        "state": ["available"],
    }
    found = api.find_images(ec2, source.owner, filters)
    return max(found, key=lambda image: image.get("CreationDate", ""), default=None)


def _read(image: ImageTypeDef, origin: str) -> Image:
    root = image.get("RootDeviceName", "/dev/sda1")
    sizes = [
        mapping.get("Ebs", {}).get("VolumeSize", 0)
        for mapping in image.get("BlockDeviceMappings", [])
        if mapping.get("DeviceName") == root
    ]
    return Image(
        id=image["ImageId"],
        origin=origin,
        root_device=root,
        architecture=str(image.get("Architecture", "")),
        size=max(sizes, default=0),
        state=str(image.get("State", "")),
    )
