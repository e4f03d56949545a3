"""Baked images: which one is chosen, and requests that are repeated."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import boto3
import pytest
from botocore.stub import ANY, Stubber

from flambe_ansible.ec2 import baked
from flambe_ansible.ec2.baked import BakedImage
from flambe_ansible.errors import AWSError

IMAGE = BakedImage(
    id="ami-1",
    name="flambe-demo-i-1",
    state="available",
    recipe="r",
    base="ubuntu-x86_64",
    runtime="flambe 0.4.18",
    cluster="demo",
    creator="ada",
    created=datetime(2026, 11, 30, tzinfo=UTC),
    size=100,
    architecture="x86_64",
    root_device="/dev/sda1",
    snapshots=("snap-1",),
    stored=100,
    reason="",
)


@pytest.fixture
def ec2(monkeypatch: pytest.MonkeyPatch) -> Stubber:
    monkeypatch.setattr(baked, "RETRY_PAUSES", (0.0, 0.0))
    monkeypatch.setattr(baked, "POLL_SECONDS", 0.0)
    config = boto3.session.Config(retries={"total_max_attempts": 1})
    return Stubber(boto3.client("ec2", region_name="eu-west-1", config=config))


def create(ec2: Stubber) -> str:
    with ec2:
        made = baked.create(ec2.client, "i-1", name="flambe-demo-i-1", description="d", tags={"Purpose": "flambe"})
    ec2.assert_no_pending_responses()
    return made


def describe(state: str = "available", **changes: Any) -> dict[str, Any]:
    tags = [{"Key": "Flambe-Recipe", "Value": "r"}, {"Key": "Flambe-Base", "Value": "ubuntu-x86_64"}]
    disk = {"DeviceName": "/dev/sda1", "Ebs": {"VolumeSize": 100, "SnapshotId": "snap-1", "Encrypted": True}}
    found = {"ImageId": "ami-1", "Name": "flambe-demo-i-1", "State": state, "Tags": tags, "BlockDeviceMappings": [disk]}
    return {"Images": [{**found, "Architecture": "x86_64", "CreationDate": "2026-11-30T10:00:00.000Z", **changes}]}


@pytest.mark.parametrize(
    "changes",
    [{"state": "pending"}, {"base": "ubuntu-x86_64-gpu"}, {"size": 101}, {"architecture": "arm64"}],
)
def test_an_image_that_does_not_fit_is_not_chosen(changes: dict[str, Any]) -> None:
    wanted = {"base": "ubuntu-x86_64", "architecture": "x86_64", "size": 100}
    assert baked.choose([replace(IMAGE, **changes)], **wanted) is None
    assert baked.choose([replace(IMAGE, **changes), IMAGE], **wanted) == IMAGE


def test_a_request_without_an_answer_is_repeated_and_makes_one_image(ec2: Stubber) -> None:
    ec2.add_client_error("create_image", "InternalError", http_status_code=500)
    ec2.add_client_error("create_image", "InvalidAMIName.Duplicate", http_status_code=400)
    ec2.add_response("describe_images", {"Images": []})  # it is not shown yet
    ec2.add_client_error("create_image", "InvalidAMIName.Duplicate", http_status_code=400)
    ec2.add_response("describe_images", describe(), {"Owners": ["self"], "Filters": ANY})
    assert create(ec2) == "ami-1"


def test_a_refused_request_is_not_repeated(ec2: Stubber) -> None:
    ec2.add_client_error("create_image", "UnauthorizedOperation", http_status_code=403)
    with pytest.raises(AWSError, match="Failed to create an image"):
        create(ec2)


def test_the_wait_ends_with_the_reason_of_a_failed_image(ec2: Stubber) -> None:
    ec2.add_response("describe_images", describe("pending"))
    ec2.add_response("describe_images", describe("failed", StateReason={"Code": "Client", "Message": "no key"}))
    with ec2, pytest.raises(AWSError, match="image ami-1 is failed: no key"):
        baked.wait_for(ec2.client, ["ami-1"])


def test_an_available_image_is_read(ec2: Stubber) -> None:
    ec2.add_response("describe_images", describe())
    with ec2:
        [found] = baked.wait_for(ec2.client, ["ami-1"])
    assert (found.recipe, found.base, found.size, found.snapshots) == ("r", "ubuntu-x86_64", 100, ("snap-1",))
