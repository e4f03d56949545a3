"""The subnet of a cluster whose configuration has none: a default subnet of the default VPC.

https://docs.aws.amazon.com/vpc/latest/userguide/default-vpc.html
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from flambe_ansible.ec2 import api

if TYPE_CHECKING:
    from mypy_boto3_ec2.client import EC2Client
    from mypy_boto3_ec2.type_defs import SubnetTypeDef


@dataclass(frozen=True, kw_only=True)
class ChosenSubnet:
    """A subnet, and the alternatives to it.

    Attributes:
        description: Its description.
        others: The ids of the other default subnets that fit, by zone.
    """

    description: SubnetTypeDef
    others: Mapping[str, str]

    @property
    def id(self) -> str:
        """Its id."""
        return self.description["SubnetId"]

    @property
    def zone(self) -> str:
        """The name of its availability zone."""
        return self.description["AvailabilityZone"]


def choose(ec2: EC2Client, types: Collection[str], *, hosts: int, near: str = "") -> ChosenSubnet | None:
    """Choose the default subnet for new hosts; None if the region has none.

    If no zone offers all types, the result is a subnet of the zone that offers most of them.

    Args:
        ec2: The client of EC2.
        types: The instance types of the new hosts.
        hosts: The number of new hosts.
        near: The id of the existing hosts' subnet, or "". It is preferred, and used even if it is not a default subnet.
    """
    subnets = {one["SubnetId"]: one for one in sorted(api.find_default_subnets(ec2), key=_get_zone)}
    if near and near not in subnets:
        return ChosenSubnet(description=api.describe_subnet(ec2, near), others={})
    if not subnets:
        return None
    offers = api.find_offers(ec2, sorted(set(types)))

    def rate(subnet: SubnetTypeDef) -> tuple[int, bool]:
        return len(offers.get(_get_zone(subnet), ())), subnet.get("AvailableIpAddressCount", hosts) >= hosts

    best = max(map(rate, subnets.values()))
    fitting = [name for name, one in subnets.items() if rate(one) == best]
    chosen = near if near in fitting else fitting[0]
    others = {_get_zone(subnets[name]): name for name in fitting if name != chosen}
    return ChosenSubnet(description=subnets[chosen], others=others)


def _get_zone(subnet: SubnetTypeDef) -> str:
    return subnet["AvailabilityZone"]
