"""Rules of security groups, as DescribeSecurityGroups returns them.

https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DescribeSecurityGroups.html
"""

from __future__ import annotations

from typing import Any

import pytest

from flambe_ansible.ec2 import rules
from tests.unit.ec2.support import SSH_RULE

OWN = {"UserIdGroupPairs": [{"GroupId": "sg-1", "UserId": "123456789012"}], "IpRanges": [], "PrefixListIds": []}
ALL_FROM_ITSELF = {"IpProtocol": "-1", **OWN}
LIST = {"PrefixListIds": [{"PrefixListId": "pl-1"}]}


def _from(*networks: str, protocol: str = "tcp", ports: tuple[int, int] | None = (22, 22)) -> dict[str, Any]:
    limits = {"FromPort": ports[0], "ToPort": ports[1]} if ports else {}
    return {"IpProtocol": protocol, "IpRanges": [{"CidrIp": one} for one in networks], **limits}


def _group(*permissions: dict[str, Any]) -> Any:
    return {"GroupId": "sg-1", "IpPermissions": list(permissions)}


@pytest.mark.parametrize(
    ("permissions", "sources"),
    [
        ([], ""),
        ([SSH_RULE], "0.0.0.0/0"),
        ([_from("203.0.113.7/32"), _from("10.0.0.0/8", ports=(0, 65535))], "203.0.113.7/32, 10.0.0.0/8"),
        ([ALL_FROM_ITSELF], "members of sg-1"),
        ([{**SSH_RULE, "IpRanges": [], **LIST}], "pl-1"),
        ([_from("0.0.0.0/0", ports=(80, 443)), _from("0.0.0.0/0", protocol="udp")], ""),
        ([{**SSH_RULE, "IpRanges": [], "Ipv6Ranges": [{"CidrIpv6": "::/0"}]}], ""),
        ([_from("10.1.2.3/16", protocol="-1", ports=None)], "10.1.0.0/16"),
    ],
)
def test_find_ssh_sources(permissions: list[dict[str, Any]], sources: str) -> None:
    found = rules.find_ssh_sources(_group(*permissions))
    assert str(found) == sources
    assert bool(found) == bool(sources)


@pytest.mark.parametrize(
    ("network", "address", "included"),
    [
        ("0.0.0.0/0", "0.0.0.0", True),
        ("203.0.113.0/24", "203.0.113.7", True),
        ("203.0.113.0/24", "0.0.0.0", False),
        ("203.0.113.0/24", "198.51.100.7", False),
    ],
)
def test_sources_include(network: str, address: str, included: bool) -> None:
    assert rules.find_ssh_sources(_group(_from(network))).include(address) is included


@pytest.mark.parametrize(
    ("permissions", "connected"),
    [
        ([ALL_FROM_ITSELF], True),
        ([{"IpProtocol": "-1", "UserIdGroupPairs": [{"GroupId": "sg-2"}]}], False),
        ([{"IpProtocol": "tcp", "FromPort": 1024, "ToPort": 65535, **OWN}], True),
        ([{"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22, **OWN}], False),
        ([_from("172.31.0.0/16", ports=(0, 65535))], True),
        ([_from("10.0.0.0/8", ports=(0, 65535))], False),
        ([_from("0.0.0.0/0")], False),
        ([{"IpProtocol": "-1", **LIST}], True),
        ([], False),
    ],
)
def test_connects_members(permissions: list[dict[str, Any]], connected: bool) -> None:
    assert rules.connects_members(_group(*permissions), "172.31.16.0/20") is connected
