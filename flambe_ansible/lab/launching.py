"""RunInstances: checks that moto does not make, and hosts for the instances that moto creates."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from flambe_ansible.lab import quotas, spot
from flambe_ansible.lab.answers import Answer, RefusedError
from flambe_ansible.lab.cloud import ACCOUNT, ZONE, Cloud
from flambe_ansible.lab.disk import mac_address
from flambe_ansible.lab.fleet import Fleet, set_state

USER_DATA_LIMIT = 16_384  # bytes
DEFAULT_TYPE = "m1.small"

Forward = Callable[[], Answer]


def run_instances(cloud: Cloud, fleet: Fleet, parameters: Mapping[str, str], forward: Forward) -> Answer:
    """Launch instances, each a host; ``forward`` calls moto, which calls the replacement of its own function."""
    token = parameters.get("ClientToken", "")
    if earlier := _find_earlier(cloud, token, parameters):
        with replaced(cloud.ec2, "run_instances", lambda *_args, **_kwargs: earlier):
            return forward()
    script = _check(cloud, parameters)
    kind = parameters.get("InstanceType", DEFAULT_TYPE)
    least, is_spot = int(parameters["MinCount"]), spot.is_spot(parameters)
    fleet.faults.refuse_capacity("RunInstances", type=kind, zone=ZONE)
    count = _count(parameters, _limit_capacity(fleet, parameters, kind))
    count = quotas.limit(cloud, fleet.settings.quotas, kind, least=least, most=count, spot=is_spot)
    original = cloud.ec2.run_instances
    made: list[Any] = []

    def launch(image_id: str, _count: int, user_data: Any, group_names: list[str], **options: Any) -> Any:
        """Replace moto's ``run_instances``."""
        image = cloud.ec2.amis.get(image_id)
        options = _in_the_lab(cloud, options, group_names)
        if image is not None and image.owner_id == ACCOUNT and not options.get("block_device_mappings"):
            options["block_device_mappings"] = image.block_device_mappings
        with _undone_on_error(cloud), _volumes_with_iops(cloud, parameters):
            made.append(original(image_id, count, user_data, group_names, **options))
        for instance in made[-1].instances:
            _finish(instance, parameters)
            spot.finish(instance, parameters)
            cloud.layers[instance.id] = image.layers
        return made[-1]

    with replaced(cloud.ec2, "run_instances", launch):
        answer = forward()
    cloud.spot_role |= is_spot and answer.status < 400
    for reservation in made:
        if token:
            cloud.tokens.remember(token, parameters, reservation.id)
        fleet.save()  # before the hosts start: if the daemon ends now, the next one creates them
        doomed = fleet.faults.take("dies-pending", type=kind, zone=ZONE)
        for instance in reservation.instances:
            fleet.fail(instance) if doomed else fleet.launch(instance, script)
    return answer


def _limit_capacity(fleet: Fleet, parameters: Mapping[str, str], kind: str) -> int:
    """Return how many instances there is room for; a fault can limit it."""
    fault = fleet.faults.take("partial-fill", type=kind, zone=ZONE)
    if fault is None:
        return fleet.room()
    asked = parameters["MaxCount"]
    return fault.count if fault.count >= 0 or not asked.isdecimal() else int(asked) - 1


def _find_earlier(cloud: Cloud, token: str, parameters: Mapping[str, str]) -> Any | None:
    """Find the reservation of an earlier request with this token; refuse a token whose instances are terminated."""
    known = cloud.tokens.find(token, parameters)
    if known is None:
        return None
    earlier = cloud.ec2.reservations.get(known)
    if earlier is None or all(instance.state == "terminated" for instance in earlier.instances):
        reason = f"The instances of an earlier request with the client token {token} have been terminated"
        raise RefusedError("IdempotentInstanceTerminated", reason)
    return earlier


@contextmanager
def replaced(target: Any, name: str, function: Callable[..., Any]) -> Iterator[None]:
    """Replace a method of one object within the context."""
    setattr(target, name, function)
    try:
        yield
    finally:
        delattr(target, name)


def _in_the_lab(cloud: Cloud, options: dict[str, Any], group_names: list[str]) -> dict[str, Any]:
    """Change moto's options: the lab's network, and no public address."""
    options = {**options, "associate_public_ip": False}
    for nic in options.get("nics") or ():
        nic["AssociatePublicIpAddress"] = False
    if not options.get("nics"):
        options["subnet_id"] = cloud.subnet_id
        if not options.get("security_group_ids") and not group_names:
            options["security_group_ids"] = [cloud.security_group]
    return options


@contextmanager
def _undone_on_error(cloud: Cloud) -> Iterator[None]:
    """Remove the incomplete reservation that moto leaves after an error."""
    before = set(cloud.ec2.reservations)
    try:
        yield
    except BaseException:
        for key in set(cloud.ec2.reservations) - before:
            del cloud.ec2.reservations[key]
        raise


def _check(cloud: Cloud, parameters: Mapping[str, str]) -> str:
    """Check what moto does not check; returns the user-data script."""
    for name in ("ImageId", "MinCount", "MaxCount"):
        if not parameters.get(name):
            raise RefusedError("MissingParameter", f"The request must contain the parameter {name}")
    if any(name.startswith("LaunchTemplate") for name in parameters):
        raise RefusedError("UnsupportedOperation", "The lab has no launch templates")
    _check_image(cloud, parameters["ImageId"])
    for key, subnet in parameters.items():
        if re.fullmatch(r"(NetworkInterface\.\d+\.)?SubnetId", key) and subnet != cloud.subnet_id:
            raise RefusedError("InvalidSubnetID.NotFound", f"The subnet ID '{subnet}' does not exist")
    zone = parameters.get("Placement.AvailabilityZone")
    if zone and zone != cloud.ec2.get_subnet(cloud.subnet_id).availability_zone:
        raise RefusedError("InvalidParameterValue", f"The lab has no availability zone {zone}")
    key_name = parameters.get("KeyName")
    if key_name and key_name not in cloud.ec2.key_pairs:
        raise RefusedError("InvalidKeyPair.NotFound", f"The key pair '{key_name}' does not exist")
    _check_architecture(cloud, parameters)
    spot.check(parameters)
    return read_user_data(parameters.get("UserData", ""))


def read_user_data(encoded: str) -> str:
    """Decode the script of an instance's user-data from Base64; "" for none."""
    try:
        raw = base64.b64decode(encoded, validate=True)
    except ValueError as error:
        raise RefusedError("InvalidParameterValue", "Invalid BASE64 encoding of user data") from error
    if len(raw) > USER_DATA_LIMIT:
        raise RefusedError("InvalidParameterValue", f"User data is limited to {USER_DATA_LIMIT} bytes")
    if raw and not raw.startswith(b"#!"):
        reason = "The lab supports only user data that is a script with #! in its first line"
        raise RefusedError("InvalidParameterValue", reason)
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        raise RefusedError("InvalidParameterValue", "The user data is not UTF-8 text") from error


def _check_image(cloud: Cloud, image_id: str) -> None:
    """Refuse images that are not available; moto refuses unknown images."""
    if image_id in cloud.ec2.deleted_amis:
        raise RefusedError("InvalidAMIID.Unavailable", f"The image ID '{image_id}' is no longer available")
    image = cloud.ec2.amis.get(image_id)
    if image is not None and image.state != "available":
        reason = f"The image ID '{image_id}' is not available: it is {image.state}"
        raise RefusedError("InvalidAMIID.Unavailable", reason)


def _check_architecture(cloud: Cloud, parameters: Mapping[str, str]) -> None:
    """Refuse instance types of another architecture than the image's; moto refuses unknown types."""
    wanted = parameters.get("InstanceType", DEFAULT_TYPE)
    known = cloud.ec2.describe_instance_types(filters={"instance-type": [wanted]})
    architectures = known[0]["ProcessorInfo"]["SupportedArchitectures"] if known else ["x86_64"]
    if "x86_64" not in architectures:
        found = f"The architecture '{', '.join(architectures)}' of the specified instance type"
        reason = f"{found} does not match the architecture 'x86_64' of the specified AMI"
        raise RefusedError("InvalidParameterValue", reason)


def _count(parameters: Mapping[str, str], room: int) -> int:
    """Return how many instances to create: up to MaxCount, but not fewer than MinCount."""
    try:
        least, most = int(parameters["MinCount"]), int(parameters["MaxCount"])
    except ValueError as error:
        raise RefusedError("InvalidParameterValue", "MinCount and MaxCount must be numbers") from error
    if not 1 <= least <= most:
        raise RefusedError("InvalidParameterValue", f"Value ({least}) for parameter minCount is invalid")
    if least > room:
        reason = f"There is room for {max(room, 0)} more hosts, but {least} were requested"
        raise RefusedError("InsufficientInstanceCapacity", reason)
    return min(most, room)


@contextmanager
def _volumes_with_iops(cloud: Cloud, parameters: Mapping[str, str]) -> Iterator[None]:
    """Pass on the IOPS of a request's volumes, which moto drops."""
    create_volume = cloud.ec2.create_volume

    def create(*args: Any, **options: Any) -> Any:
        for key, value in parameters.items():
            match = re.fullmatch(r"(BlockDeviceMapping\.\d+\.Ebs\.)Iops", key)
            if match and parameters.get(match[1] + "VolumeType") == options.get("volume_type"):
                options["iops"] = int(value)
        return create_volume(*args, **options)

    with replaced(cloud.ec2, "create_volume", create):
        yield


def _finish(instance: Any, parameters: Mapping[str, str]) -> None:
    """Set what moto does not set: the tenancy, and volumes that end with their instance."""
    set_state(instance, "pending")
    instance._placement.tenancy = parameters.get("Placement.Tenancy", "default")
    kept = {
        parameters.get(key.replace("Ebs.DeleteOnTermination", "DeviceName"))
        for key, value in parameters.items()
        if key.endswith(".Ebs.DeleteOnTermination") and value.lower() == "false"
    }
    for nic in instance.nics.values():
        # moto would free the address at once; the lab frees it when the host has ended.
        nic.delete_on_termination = False
        nic.mac_address = mac_address(nic.private_ip_address)
    for device, volume in instance.block_device_mapping.items():
        volume.delete_on_termination = device not in kept
