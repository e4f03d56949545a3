"""Looking at everything that a creation needs before anything is created; read-only, all problems at once."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from flambe_ansible.ec2 import api, images
from flambe_ansible.ec2.images import Image
from flambe_ansible.ec2.launching import Settings
from flambe_ansible.errors import AWSError, ClusterConfigurationError, Problem
from flambe_ansible.hosts import Role

if TYPE_CHECKING:
    from mypy_boto3_ec2.client import EC2Client
    from mypy_boto3_ec2.type_defs import InstanceTypeInfoTypeDef, SubnetTypeDef
    from mypy_boto3_ssm.client import SSMClient

T = TypeVar("T")

TYPE_FIELDS = {Role.ORCHESTRATOR: "orchestrator_type", Role.FACTORY: "factories_type"}
IMAGE_FIELDS = {Role.ORCHESTRATOR: "orchestrator_ami", Role.FACTORY: "factory_ami"}


@dataclass(frozen=True)
class Checked:
    """What the checks found.

    Attributes:
        images: The image that each role's hosts will be made from.
        notes: What the user should know.
    """

    images: Mapping[Role, Image]
    notes: tuple[str, ...]


def check(ec2: EC2Client, ssm: SSMClient, settings: Settings, counts: Mapping[Role, int], *, public: bool) -> Checked:
    """Check that hosts can be created as the user wants them.

    Args:
        ec2: The client.
        ssm: The client that knows the default images.
        settings: What the hosts are made with.
        counts: How many hosts of each role are to be created; roles that are not there are not looked at.
        public: Whether the user means to connect to public addresses.

    Raises:
        ClusterConfigurationError: Something does not exist or does not fit; all problems are in it.
        AWSError: AWS cannot be asked.
    """
    subnet, problems = _check_subnet(ec2, settings, sum(counts.values()))
    zone = subnet.get("AvailabilityZone", "") if subnet else ""
    with ThreadPoolExecutor(4) as pool:
        common = [
            pool.submit(_check_security_group, ec2, settings.security_group, subnet),
            pool.submit(_check_key, ec2, settings.key_name),
        ]
        roles = {role: pool.submit(_check_role, ec2, ssm, settings, role, zone) for role in counts}
    notes = []
    if public and subnet and not subnet.get("MapPublicIpOnLaunch"):
        notes.append(f"subnet {settings.subnet_id} gives no public addresses: the private ones will be used")
    found: dict[Role, Image] = {}
    for task in common:
        problems += task.result()
    for role, result in ((role, task.result()) for role, task in roles.items()):
        problems += result.problems
        notes += result.notes
        if result.image:
            found[role] = result.image
    if problems:
        raise _make_error(problems)
    return Checked(found, tuple(notes))


@dataclass
class _RoleResult:
    """What the checks of one role found."""

    image: Image | None
    problems: list[Problem]
    notes: list[str]


def _check_subnet(ec2: EC2Client, settings: Settings, count: int) -> tuple[SubnetTypeDef | None, list[Problem]]:
    """Look at the subnet: it must be there, with addresses enough."""
    subnet, problems = _ask(lambda: api.describe_subnet(ec2, settings.subnet_id), "subnet_id", settings.subnet_id)
    if subnet and subnet.get("AvailableIpAddressCount", count) < count:
        left = subnet["AvailableIpAddressCount"]
        message = f"subnet {settings.subnet_id} has {left} free addresses, {count} hosts are to be created"
        problems.append(_problem("subnet_id", message, expected="a subnet with more free addresses"))
    return subnet, problems


def _check_security_group(ec2: EC2Client, group_id: str, subnet: SubnetTypeDef | None) -> list[Problem]:
    """Look at the security group: it must be there, in the subnet's network."""
    group, problems = _ask(lambda: api.describe_security_group(ec2, group_id), "security_group", group_id)
    if group and subnet and group.get("VpcId") != subnet.get("VpcId"):
        message = f"security group {group_id} is in {group.get('VpcId')}, the subnet in {subnet.get('VpcId')}"
        problems.append(_problem("security_group", message, expected="a security group of the subnet's VPC"))
    return problems


def _check_key(ec2: EC2Client, key_name: str) -> list[Problem]:
    """Look for the key pair."""
    names = [pair.get("KeyName", "") for pair in api.describe_key_pairs(ec2)]
    if key_name in names:
        return []
    message = f"there is no key pair {key_name} in {ec2.meta.region_name}"
    return [
        _problem(
            "key_name", message, expected="the name of a key pair of the region", suggestion=_closest(key_name, names)
        )
    ]


def _check_role(ec2: EC2Client, ssm: SSMClient, settings: Settings, role: Role, zone: str) -> _RoleResult:
    """Look at one role's type and image, and whether they fit."""
    kind, field = settings.types[role], TYPE_FIELDS[role]
    result = _RoleResult(None, [], [])
    info, result.problems = _ask(lambda: api.describe_instance_type(ec2, kind), field, kind)
    if zone and kind not in api.list_offered_types(ec2, zone, kind):
        message = f"{zone}, the zone of the subnet, does not offer {kind}"
        suggestion = _closest(kind, api.list_offered_types(ec2, zone))
        result.problems = [_problem(field, message, expected="an instance type of the zone", suggestion=suggestion)]
    if info and images.ARCHITECTURE not in info.get("ProcessorInfo", {}).get("SupportedArchitectures", []):
        result.problems.append(_problem(field, f"{kind} is not an x86_64 machine", expected="an x86_64 instance type"))
    _check_image(ec2, ssm, settings, role, info, result)
    return result


def _check_image(
    ec2: EC2Client,
    ssm: SSMClient,
    settings: Settings,
    role: Role,
    info: InstanceTypeInfoTypeDef | None,
    result: _RoleResult,
) -> None:
    """Find the role's image, and add what is wrong with it to the result."""
    field, wanted = IMAGE_FIELDS[role], settings.images[role]
    if wanted:
        result.image, problems = _ask(lambda: images.get_image(ec2, wanted, origin=f"named by {field}"), field, wanted)
        result.problems += problems
    elif info:
        result.image = images.find_default(ec2, ssm, gpu=images.wants_gpu_image(info))
        if images.has_undriven_gpu(info):
            result.notes.append(
                f"the default image has no driver for the GPUs of {settings.types[role]}: "
                f"name one that has with {field}, or install it with setup_cmds"
            )
    image = result.image
    if not image:
        return
    if image.architecture != images.ARCHITECTURE:
        message = f"image {image.id} is for {image.architecture}"
        result.problems.append(_problem(field, message, expected=f"an image for {images.ARCHITECTURE}"))
    if image.state != "available":
        message = f"image {image.id} is {image.state}"
        result.problems.append(_problem(field, message, expected="an image that is available"))
    if image.size > settings.volume_size:
        message = f"volume_size is {settings.volume_size}, image {image.id} needs {image.size} GB"
        result.problems.append(_problem("volume_size", message, expected=f"at least {image.size}"))


def _ask(call: Callable[[], T], field: str, value: str) -> tuple[T | None, list[Problem]]:
    """Look something up; that it does not exist is a problem of the field that names it."""
    try:
        return call(), []
    except AWSError as error:
        if not error.code.startswith("Invalid") or error.code == "InvalidClientTokenId":
            raise
        reason = error.message.partition(": ")[2] or error.message
        return None, [_problem(field, f"{field} {value}: {reason}")]


def _problem(field: str, message: str, *, expected: str = "", suggestion: str = "") -> Problem:
    """Make a problem of one field; who has read the file knows its place."""
    return Problem(file="", line=0, column=0, message=message, expected=expected, suggestion=suggestion, field=field)


def _closest(word: str, candidates: Iterable[str]) -> str:
    return next(iter(difflib.get_close_matches(word, sorted(candidates), n=1)), "")


def _make_error(problems: list[Problem]) -> ClusterConfigurationError:
    """Make one error of all problems, each once."""
    unique = list(dict.fromkeys(problems))
    lines = [str(one).removeprefix(": ") for one in unique]
    return ClusterConfigurationError("\n".join(lines), problems=unique, hint="nothing was created")
