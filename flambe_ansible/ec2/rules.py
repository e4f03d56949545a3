"""What the inbound rules of a security group allow; pure functions.

https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_IpPermission.html
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mypy_boto3_ec2.type_defs import IpPermissionOutputTypeDef, SecurityGroupTypeDef

SSH_PORT = 22


@dataclass(frozen=True)
class Sources:
    """The sources of some rules; only networks can be compared with an address.

    Attributes:
        networks: IPv4 networks; the hosts have no other addresses.
        groups: Ids of security groups.
        prefix_lists: Ids of prefix lists.
    """

    networks: tuple[ipaddress.IPv4Network, ...]
    groups: tuple[str, ...]
    prefix_lists: tuple[str, ...]

    def __bool__(self) -> bool:
        """Return whether there are any."""
        return bool(self.networks or self.groups or self.prefix_lists)

    def include(self, address: str) -> bool:
        """Return whether one of the networks has an address."""
        return any(ipaddress.IPv4Address(address) in network for network in self.networks)

    def __str__(self) -> str:
        groups = [f"members of {group}" for group in self.groups]
        return ", ".join([*map(str, self.networks), *groups, *self.prefix_lists])


def find_ssh_sources(group: SecurityGroupTypeDef) -> Sources:
    """Return the sources that a group lets in to the port of SSH."""
    rules = [rule for rule in group.get("IpPermissions", []) if SSH_PORT in _find_ports(rule)]
    return _find_sources(rules)


def connects_members(group: SecurityGroupTypeDef, subnet: str) -> bool:
    """Return whether a group may let its members in, on other ports than that of SSH.

    Its members have addresses of ``subnet``, a network. A prefix list may contain them.
    """
    rules = [rule for rule in group.get("IpPermissions", []) if set(_find_ports(rule)) - {SSH_PORT}]
    sources = _find_sources(rules)
    members = ipaddress.IPv4Network(subnet)
    return (
        group.get("GroupId") in sources.groups
        or bool(sources.prefix_lists)
        or any(network.overlaps(members) for network in sources.networks)
    )


def _find_ports(rule: IpPermissionOutputTypeDef) -> Sequence[int]:
    """Return the TCP ports of a rule."""
    protocol = rule.get("IpProtocol")
    if protocol == "-1":  # all traffic
        return range(65536)
    if protocol not in ("tcp", "6"):
        return ()
    return range(rule.get("FromPort", 0), rule.get("ToPort", 65535) + 1)


def _find_sources(rules: Sequence[IpPermissionOutputTypeDef]) -> Sources:
    networks = [
        ipaddress.IPv4Network(one["CidrIp"], strict=False) for rule in rules for one in rule.get("IpRanges", [])
    ]
    groups = [one.get("GroupId", "") for rule in rules for one in rule.get("UserIdGroupPairs", [])]
    lists = [one.get("PrefixListId", "") for rule in rules for one in rule.get("PrefixListIds", [])]
    return Sources(tuple(dict.fromkeys(networks)), tuple(dict.fromkeys(groups)), tuple(dict.fromkeys(lists)))
