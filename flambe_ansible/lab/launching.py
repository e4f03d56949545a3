"""RunInstances: what the lab refuses as EC2 would, and how moto's call is bent to make real hosts."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from .cloud import Cloud
from .fleet import Fleet, set_state
from .tokens import TokenMismatchError
from .userdata import UserDataError, read_user_data


class Refusal(Exception):
    """EC2 says no.

    Attributes:
        code: Its error code.
        message: What is wrong.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


Forward = Callable[[], None]


def run_instances(cloud: Cloud, fleet: Fleet, parameters: Mapping[str, str], forward: Forward) -> None:
    """Launch instances, each a host.

    Args:
        cloud: moto's backends.
        fleet: The hosts.
        parameters: The request's parameters, flat.
        forward: Hands the request on to moto, which calls back what is put in the place of its own function.

    Raises:
        Refusal: EC2 would refuse, or the lab cannot do it.
    """
    token = parameters.get("ClientToken", "")
    try:
        earlier = cloud.tokens.find(token, parameters) if token else None
    except TokenMismatchError as error:
        raise Refusal(
            "IdempotentParameterMismatch",
            f"Arguments on this idempotent request are inconsistent with arguments used in previous request(s) "
            f"with client token {token}",
        ) from error
    if earlier is not None and earlier in cloud.ec2.reservations:
        with replaced(cloud.ec2, "run_instances", lambda *_args, **_kwargs: cloud.ec2.reservations[earlier]):
            forward()
        return
    script = _check(cloud, parameters)
    count = _count(parameters, fleet.room())
    original = cloud.ec2.run_instances
    made: list[Any] = []

    def launch(image_id: str, _count: int, user_data: Any, group_names: list[str], **options: Any) -> Any:
        """Do what moto's function of this name does, within the lab's network and without public addresses."""
        options |= {"associate_public_ip": False}
        for nic in options.get("nics", ()):
            nic["AssociatePublicIpAddress"] = False
        if not options.get("nics"):
            options["subnet_id"] = cloud.subnet_id
            if not options.get("security_group_ids") and not group_names:
                options["security_group_ids"] = [cloud.security_group]
        before = set(cloud.ec2.reservations)
        try:
            with replaced(cloud.ec2, "create_volume", _volumes_with_iops(cloud.ec2.create_volume, parameters)):
                reservation = original(image_id, count, user_data, group_names, **options)
        except BaseException:
            for key in set(cloud.ec2.reservations) - before:
                del cloud.ec2.reservations[key]
            raise
        for instance in reservation.instances:
            _finish(instance, parameters)
        made.append(reservation)
        return reservation

    with replaced(cloud.ec2, "run_instances", launch):
        forward()
    for reservation in made:
        if token:
            cloud.tokens.remember(token, parameters, reservation.id)
        fleet.save()  # before the hosts: a daemon that dies now leaves instances that the next one finishes
        for instance in reservation.instances:
            fleet.launch(instance, script)


@contextmanager
def replaced(target: Any, name: str, function: Callable[..., Any]) -> Iterator[None]:
    """Put a function in the place of one object's method for a while."""
    setattr(target, name, function)
    try:
        yield
    finally:
        delattr(target, name)


def _check(cloud: Cloud, parameters: Mapping[str, str]) -> str:
    """Check what moto lets pass; returns the user-data script."""
    for name in ("ImageId", "MinCount", "MaxCount"):
        if not parameters.get(name):
            raise Refusal("MissingParameter", f"The request must contain the parameter {name}")
    if any(name.startswith("LaunchTemplate") for name in parameters):
        raise Refusal("UnsupportedOperation", "The lab has no launch templates")
    subnets = [v for k, v in parameters.items() if k == "SubnetId" or re.fullmatch(r"NetworkInterface\.\d+\.SubnetId", k)]
    for subnet in subnets:
        if subnet != cloud.subnet_id:
            raise Refusal("InvalidSubnetID.NotFound", f"The subnet ID '{subnet}' does not exist")
    zone = parameters.get("Placement.AvailabilityZone")
    if zone and zone != cloud.ec2.get_subnet(cloud.subnet_id).availability_zone:
        raise Refusal("InvalidParameterValue", f"The lab has no availability zone {zone}")
    key_name = parameters.get("KeyName")
    if key_name and key_name not in cloud.ec2.key_pairs:
        raise Refusal("InvalidKeyPair.NotFound", f"The key pair '{key_name}' does not exist")
    _check_architecture(cloud, parameters)
    try:
        return read_user_data(parameters.get("UserData", ""))
    except UserDataError as error:
        raise Refusal("InvalidParameterValue", str(error)) from error


def _check_architecture(cloud: Cloud, parameters: Mapping[str, str]) -> None:
    """Refuse types whose processors the image is not for; unknown types are left to moto."""
    wanted = parameters.get("InstanceType", "m1.small")
    known = cloud.ec2.describe_instance_types(filters={"instance-type": [wanted]})
    architectures = known[0]["ProcessorInfo"]["SupportedArchitectures"] if known else ["x86_64"]
    if "x86_64" not in architectures:
        raise Refusal(
            "InvalidParameterValue",
            f"The architecture '{', '.join(architectures)}' of the specified instance type does not match the "
            f"architecture 'x86_64' of the specified AMI",
        )


def _count(parameters: Mapping[str, str], room: int) -> int:
    """Choose how many instances to make: as many as asked and possible, but not fewer than the least."""
    try:
        least, most = int(parameters["MinCount"]), int(parameters["MaxCount"])
    except ValueError as error:
        raise Refusal("InvalidParameterValue", "MinCount and MaxCount must be numbers") from error
    if not 1 <= least <= most:
        raise Refusal("InvalidParameterValue", f"Value ({least}) for parameter minCount is invalid")
    if least > room:
        raise Refusal(
            "InsufficientInstanceCapacity",
            f"The lab has room for {max(room, 0)} more hosts, and {least} were asked for",
        )
    return min(most, room)


def _volumes_with_iops(create_volume: Callable[..., Any], parameters: Mapping[str, str]) -> Callable[..., Any]:
    """Hand on the IOPS of a request's volumes, which moto drops."""

    def create(*args: Any, **options: Any) -> Any:
        for key, value in parameters.items():
            match = re.fullmatch(r"(BlockDeviceMapping\.\d+\.Ebs\.)Iops", key)
            if match and parameters.get(match[1] + "VolumeType") == options.get("volume_type"):
                options["iops"] = int(value)
        return create_volume(*args, **options)

    return create


def _finish(instance: Any, parameters: Mapping[str, str]) -> None:
    """Give a new instance what moto forgets: its tenancy, and volumes that end with it."""
    set_state(instance, "pending")
    instance._placement.tenancy = parameters.get("Placement.Tenancy", "default")
    kept = {
        parameters.get(key.replace("Ebs.DeleteOnTermination", "DeviceName"))
        for key, value in parameters.items()
        if key.endswith(".Ebs.DeleteOnTermination") and value.lower() == "false"
    }
    for nic in instance.nics.values():
        nic.delete_on_termination = True
    for device, volume in instance.block_device_mapping.items():
        volume.delete_on_termination = device not in kept
