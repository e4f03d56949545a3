from __future__ import annotations

from typing import Any

import boto3
import pytest
from botocore.stub import ANY, Stubber

from flambe_ansible.ec2 import images
from flambe_ansible.errors import AWSError

UBUNTU = "/aws/service/canonical/ubuntu/server/{}/stable/current/amd64/hvm/ebs-gp3/ami-id"
GPU = "/aws/service/deeplearning/ami/x86_64/base-oss-nvidia-driver-gpu-ubuntu-{}/latest/ami-id"


def _image(image_id: str, **changes: Any) -> dict[str, Any]:
    return {
        "ImageId": image_id,
        "Architecture": "x86_64",
        "RootDeviceName": "/dev/sda1",
        "State": "available",
        "BlockDeviceMappings": [
            {"DeviceName": "/dev/sda1", "Ebs": {"VolumeSize": 8}},
            {"DeviceName": "/dev/sdb", "VirtualName": "ephemeral0"},
        ],
        **changes,
    }


class Clients:
    """Stubbed clients of one region."""

    def __init__(self, region: str = "eu-west-1") -> None:
        self.ec2 = Stubber(boto3.client("ec2", region_name=region))
        self.ssm = Stubber(boto3.client("ssm", region_name=region))

    def find(self, *, gpu: bool = False, architecture: str = images.X86) -> images.Image:
        with self.ec2, self.ssm:
            found = images.find_default(self.ec2.client, self.ssm.client, gpu=gpu, architecture=architecture)
        self.ec2.assert_no_pending_responses()
        self.ssm.assert_no_pending_responses()
        return found


@pytest.mark.parametrize(("gpu", "parameter"), [(False, UBUNTU), (True, GPU)])
def test_find_default_tries_the_newest_release_first(gpu: bool, parameter: str) -> None:
    clients = Clients()
    name = parameter.format("24.04")
    clients.ssm.add_response("get_parameter", {"Parameter": {"Name": name, "Value": "ami-1"}}, {"Name": name})
    clients.ec2.add_response("describe_images", {"Images": [_image("ami-1")]}, {"ImageIds": ["ami-1"]})
    found = clients.find(gpu=gpu)
    assert (found.id, found.root_device, found.size, found.architecture) == ("ami-1", "/dev/sda1", 8, "x86_64")
    assert "Ubuntu 24.04" in found.origin
    assert name in found.origin
    assert ("NVIDIA" in found.origin) is gpu


def test_find_default_for_arm64() -> None:
    clients = Clients()
    name = UBUNTU.format("24.04").replace("amd64", "arm64")
    clients.ssm.add_response("get_parameter", {"Parameter": {"Name": name, "Value": "ami-1"}}, {"Name": name})
    image = _image("ami-1", Architecture="arm64")
    clients.ec2.add_response("describe_images", {"Images": [image]}, {"ImageIds": ["ami-1"]})
    assert clients.find(architecture=images.ARM).architecture == "arm64"


@pytest.mark.parametrize(
    ("supported", "expected"), [(["i386", "x86_64"], "x86_64"), (["arm64"], "arm64"), (["x86_64_mac"], ""), ([], "")]
)
def test_the_architecture_of_a_type(supported: list[Any], expected: str) -> None:
    assert images.find_architecture({"ProcessorInfo": {"SupportedArchitectures": supported}}) == expected


def test_find_default_uses_the_older_release_if_the_newest_is_missing() -> None:
    clients = Clients()
    clients.ssm.add_client_error("get_parameter", "ParameterNotFound", expected_params={"Name": UBUNTU.format("24.04")})
    name = UBUNTU.format("22.04").replace("gp3", "gp2")  # Canonical publishes this release with a gp2 volume
    clients.ssm.add_response("get_parameter", {"Parameter": {"Name": name, "Value": "ami-2"}}, {"Name": name})
    clients.ec2.add_response("describe_images", {"Images": [_image("ami-2")]}, {"ImageIds": ["ami-2"]})
    assert "Ubuntu 22.04" in clients.find().origin


@pytest.mark.parametrize(
    ("region", "owner"),
    [("eu-west-1", "099720109477"), ("cn-north-1", "837727238323"), ("us-gov-west-1", "513442679011")],
)
def test_find_default_falls_back_only_on_images_of_the_owner(region: str, owner: str) -> None:
    clients = Clients(region)
    for _ in range(2):
        clients.ssm.add_client_error("get_parameter", "AccessDeniedException", http_status_code=400)
    expected = {
        "Owners": [owner],
        "Filters": [
            {"Name": "name", "Values": ["ubuntu/images/hvm-ssd*/ubuntu-noble-24.04-amd64-server-*"]},
            {"Name": "architecture", "Values": ["x86_64"]},
            {"Name": "root-device-type", "Values": ["ebs"]},
            {"Name": "virtualization-type", "Values": ["hvm"]},
            {"Name": "state", "Values": ["available"]},
        ],
    }
    older, newer = (_image(f"ami-{day}", CreationDate=f"2026-10-{day}T00:00:00.000Z") for day in ("09", "10"))
    clients.ec2.add_response("describe_images", {"Images": [newer, older]}, expected)
    found = clients.find()
    assert found.id == "ami-10"
    assert owner in found.origin


def test_find_default_fails_if_there_is_no_image() -> None:
    clients = Clients()
    for _ in range(2):
        clients.ssm.add_client_error("get_parameter", "ParameterNotFound")
        clients.ec2.add_response("describe_images", {"Images": []}, {"Owners": ["amazon"], "Filters": ANY})
    with pytest.raises(AWSError, match="no Ubuntu image") as caught:
        clients.find(gpu=True)
    assert "image of every role" in (caught.value.hint or "")


def test_find_default_distinguishes_a_broken_service_from_a_missing_parameter() -> None:
    clients = Clients()
    clients.ssm.add_client_error("get_parameter", "InternalServerError", http_status_code=500)
    with pytest.raises(AWSError, match="public parameter"):
        clients.find()


@pytest.mark.parametrize(
    ("gpus", "image", "undriven"),
    [
        ([], False, False),
        ([{"Manufacturer": "NVIDIA", "Name": "T4"}], True, False),
        ([{"Manufacturer": "NVIDIA", "Name": "A10G"}], True, False),
        ([{"Manufacturer": "NVIDIA", "Name": "V100"}], False, True),
        ([{"Manufacturer": "NVIDIA", "Name": "K80"}], False, True),
        ([{"Manufacturer": "AMD", "Name": "Radeon Pro V520"}], False, True),
    ],
)
def test_types_with_gpus_use_the_image_with_a_driver(gpus: list[Any], image: bool, undriven: bool) -> None:
    info: Any = {"GpuInfo": {"Gpus": gpus}} if gpus else {}
    assert images.wants_gpu_image(info) is image
    assert images.has_undriven_gpu(info) is undriven


def test_get_image_fails_if_there_is_no_image() -> None:
    clients = Clients()
    clients.ec2.add_response("describe_images", {"Images": []}, {"ImageIds": ["ami-9"]})
    with clients.ec2, pytest.raises(AWSError, match="no image ami-9"):
        images.get_image(clients.ec2.client, "ami-9", origin="")
