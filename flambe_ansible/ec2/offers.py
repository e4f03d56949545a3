"""What an account has that a cluster can use: subnets, security groups, key pairs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from flambe_ansible.ec2 import api

if TYPE_CHECKING:
    from mypy_boto3_ec2.client import EC2Client


@dataclass(frozen=True, kw_only=True)
class Choice:
    """One of several resources.

    Attributes:
        id: What a cluster's file names it by.
        about: Its description, on one line.
        vpc_id: The VPC that it is in, or "".
        default: Whether it is a default subnet, one of which a launch chooses.
        public_key: The public half of a key pair, as ``type base64``, or "".
    """

    id: str
    about: str
    vpc_id: str = ""
    default: bool = False
    public_key: str = ""


def list_subnets(ec2: EC2Client) -> list[Choice]:
    """Return the available subnets of the region, by VPC and zone."""
    found = sorted(api.find_subnets(ec2), key=lambda one: (one["VpcId"], one["AvailabilityZone"], one["SubnetId"]))
    return [
        Choice(
            id=one["SubnetId"],
            vpc_id=one["VpcId"],
            default=one.get("DefaultForAz", False),
            about=_join(
                one["AvailabilityZone"],
                one["VpcId"],
                f"{one['AvailableIpAddressCount']} addresses",
                "default" if one.get("DefaultForAz") else "",
                _read_name(one.get("Tags", [])),
            ),
        )
        for one in found
    ]


def list_groups(ec2: EC2Client, vpc_id: str = "") -> list[Choice]:
    """Return the security groups of a VPC, or of all VPCs, by name."""
    filters = {"vpc-id": [vpc_id]} if vpc_id else {}
    found = sorted(api.find_security_groups(ec2, filters), key=lambda one: (one["GroupName"], one["GroupId"]))
    return [
        Choice(
            id=one["GroupId"],
            vpc_id=one.get("VpcId", ""),
            about=_join(one["GroupName"], "" if vpc_id else one.get("VpcId", ""), one.get("Description", "")),
        )
        for one in found
    ]


def list_key_pairs(ec2: EC2Client) -> list[Choice]:
    """Return the key pairs of the region, by name."""
    pairs = sorted(api.describe_key_pairs(ec2), key=lambda one: one["KeyName"])
    return [
        Choice(
            id=one["KeyName"],
            about=one.get("KeyType", ""),
            public_key=" ".join(one.get("PublicKey", "").split()[:2]),
        )
        for one in pairs
    ]


def _join(*parts: str) -> str:
    return "  ".join(" ".join(part.split()) for part in parts if part)


def _read_name(tags: Sequence[Any]) -> str:
    return next((str(tag["Value"]) for tag in tags if tag["Key"] == "Name"), "")
