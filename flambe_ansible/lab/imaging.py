"""CreateImage and DeregisterImage: images of the lab's hosts.

https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_CreateImage.html
https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DeregisterImage.html
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from flambe_ansible.lab.answers import Answer, RefusedError
from flambe_ansible.lab.calls import is_true
from flambe_ansible.lab.cloud import ACCOUNT, Cloud
from flambe_ansible.lab.fleet import Fleet
from flambe_ansible.lab.launching import Forward, replaced

MAX_LAYERS = 20  # an overlay's options must fit into one page

_INSTANCE_ID = re.compile(r"i-[0-9a-f]{8}(?:[0-9a-f]{9})?")
_NAME = re.compile(r"[A-Za-z0-9()\[\] ./'@_-]{3,128}")
_RESOURCE_TYPE = re.compile(r"TagSpecification\.\d+\.ResourceType")


def create_image(cloud: Cloud, fleet: Fleet, parameters: Mapping[str, str], forward: Forward) -> Answer:
    """Start to make an image of an instance."""
    instance = check_request(cloud, parameters)
    made: list[Any] = []

    def create(_id: str, name: str, description: str, tag_specifications: list[dict[str, Any]]) -> Any:
        """Replace moto's ``create_image``, which has no files, no pending state, and no tags of snapshots."""
        from flambe_ansible.lab.moto_image import make_host_image

        image = make_host_image(cloud.ec2, instance, name, description)
        image.layers = (image.id, *cloud.layers.get(instance.id, ()))
        image.reboot = not is_true(parameters, "NoReboot")
        targets = {"image": image, "snapshot": image.ebs_snapshot}
        for specification in tag_specifications:
            tags = {tag["Key"]: tag.get("Value", "") for tag in specification.get("Tags", ())}
            targets[specification["ResourceType"]].add_tags(tags)
        cloud.ec2.amis[image.id] = image
        made.append(image)
        return image

    with replaced(cloud.ec2, "create_image", create):
        answer = forward()
    fleet.save()  # before the capture: if the daemon ends now, the next one completes the image
    for image in made:
        fleet.capture(image)
    return answer


def check_request(cloud: Cloud, parameters: Mapping[str, str]) -> Any:
    """Refuse CreateImage requests that EC2 refuses or the lab does not support; return the instance."""
    for key in ("InstanceId", "Name"):
        if not parameters.get(key):
            raise RefusedError("MissingParameter", f"The request must contain the parameter {key}")
    name, instance_id = parameters["Name"], parameters["InstanceId"]
    if not _INSTANCE_ID.fullmatch(instance_id):
        raise RefusedError("InvalidInstanceID.Malformed", f'Invalid id: "{instance_id}"')
    instance = next((found for found in cloud.instances() if found.id == instance_id), None)
    if instance is None:
        raise RefusedError("InvalidInstanceID.NotFound", f"The instance ID '{instance_id}' does not exist")
    if instance.state not in ("running", "stopped"):
        raise RefusedError("IncorrectInstanceState", f"The instance '{instance_id}' is not 'running' or 'stopped'.")
    _check_name(cloud, name)
    for key, value in parameters.items():
        if _RESOURCE_TYPE.fullmatch(key) and value not in ("image", "snapshot"):
            reason = f"'{value}' is not a valid taggable resource type for this operation."
            raise RefusedError("InvalidParameterValue", reason)
    if any(key.startswith("BlockDeviceMapping") for key in parameters):
        raise RefusedError("UnsupportedOperation", "The lab does not support block device mappings of images")
    if len(cloud.layers.get(instance_id, ())) >= MAX_LAYERS:
        reason = f"The lab allows {MAX_LAYERS} images below one disk, and '{instance_id}' has as many"
        raise RefusedError("ResourceLimitExceeded", reason)
    return instance


def _check_name(cloud: Cloud, name: str) -> None:
    """Refuse names that EC2 does not allow, or that another image has."""
    if not _NAME.fullmatch(name):
        allowed = "letters, numbers, spaces and ( ) [ ] . / - ' @ _"
        reason = f"AMI names must be between 3 and 128 characters long, and may contain {allowed}"
        raise RefusedError("InvalidAMIName.Malformed", reason)
    taken = next((image for image in cloud.images() if image.name == name), None)
    if taken is not None:
        raise RefusedError("InvalidAMIName.Duplicate", f"AMI name {name} is already in use by AMI {taken.id}")


def deregister_image(cloud: Cloud, fleet: Fleet, parameters: Mapping[str, str], forward: Forward) -> Answer:
    """Deregister an image; its files are removed when no host uses them."""
    image = cloud.ec2.amis.get(parameters.get("ImageId"))
    if image is None:
        return forward()
    if image.owner_id != ACCOUNT:
        raise RefusedError("AuthFailure", f"Not authorized for image:{image.id}")
    if image.state == "pending":
        raise RefusedError("InvalidAMIID.Unavailable", f"The image ID '{image.id}' is not available: it is pending")
    answer = forward()
    if answer.status >= 400:
        return answer
    fleet.remove_unused_layers()
    if not is_true(parameters, "DeleteAssociatedSnapshots"):
        return answer
    snapshot = image.ebs_snapshot.id
    cloud.ec2.snapshots.pop(snapshot, None)
    result = (
        f"<deleteSnapshotResultSet><item><snapshotId>{snapshot}</snapshotId><returnCode>success</returnCode></item>"
        "</deleteSnapshotResultSet></DeregisterImageResponse>"
    )
    return replace(answer, body=answer.body.replace(b"</DeregisterImageResponse>", result.encode()))


def describe_snapshots(cloud: Cloud, parameters: Mapping[str, str], forward: Forward) -> Answer:
    """Describe snapshots; moto ignores OwnerIds."""
    owners = {ACCOUNT if value == "self" else value for key, value in parameters.items() if key.startswith("Owner.")}
    original = cloud.ec2.describe_snapshots

    def describe(**options: Any) -> list[Any]:
        return [found for found in original(**options) if not owners or found.owner_id in owners]

    with replaced(cloud.ec2, "describe_snapshots", describe):
        return forward()
