"""The security group of a cluster whose configuration has none.

Its name is unique in its VPC and follows from the cluster's name and creator, so that a second request for it is
refused. Its tags are set by the request that creates it.
"""

from __future__ import annotations

import getpass
import ipaddress
import re
import socket
import time
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from flambe_ansible.ec2 import api
from flambe_ansible.ec2.caller import Network
from flambe_ansible.ec2.rules import SSH_PORT
from flambe_ansible.ec2.tags import ClusterTags
from flambe_ansible.errors import AWSError

if TYPE_CHECKING:
    from mypy_boto3_ec2.client import EC2Client
    from mypy_boto3_ec2.type_defs import IpPermissionTypeDef, SecurityGroupTypeDef

POLL_SECONDS = 2.0
IN_USE_SECONDS = 180.0  # the time AWS may need to release the group of instances that have ended
IN_USE = ("DependencyViolation", "InvalidGroup.InUse")
NOT_FOUND = "InvalidGroup.NotFound"
UNUSABLE = re.compile(r"[^a-zA-Z0-9. _:/()#,@\[\]+=&;{}!$*-]")  # in the description of a rule
LONGEST_DESCRIPTION = 255


@dataclass(frozen=True, kw_only=True)
class RuleChanges:
    """The rules to add and to remove.

    Attributes:
        added: Networks from which SSH is to be allowed.
        removed: Networks from which SSH is allowed by a rule of this machine that is no longer needed.
        connects: Whether the rule for traffic inside the group is missing.
    """

    added: tuple[Network, ...]
    removed: tuple[Network, ...]
    connects: bool

    def __bool__(self) -> bool:
        return bool(self.added or self.removed or self.connects)


def find(ec2: EC2Client, cluster: ClusterTags, vpc_id: str = "") -> list[SecurityGroupTypeDef]:
    """Find the cluster's own security groups: at most one in each VPC, in one VPC or in all."""
    filters = {**cluster.resource_filters, **({"vpc-id": [vpc_id]} if vpc_id else {})}
    found = api.find_security_groups(ec2, filters)
    return [one for one in found if one.get("GroupName") == cluster.resource_name and cluster.owns(_read_tags(one))]


def create(ec2: EC2Client, cluster: ClusterTags, vpc_id: str) -> str:
    """Create the cluster's security group; return its id, or "" if the VPC has a group of this name.

    https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_CreateSecurityGroup.html
    """
    request = {
        "GroupName": cluster.resource_name,
        "Description": f"flambe cluster {cluster.name}",
        "VpcId": vpc_id,
        "TagSpecifications": cluster.specify("security-group"),
    }
    try:
        return api.create_security_group(ec2, request)
    except AWSError as error:
        if error.code != "InvalidGroup.Duplicate":
            raise
        return ""


def compare(group: SecurityGroupTypeDef | None, sources: Collection[Network]) -> RuleChanges:
    """Compare a group's rules with the wanted ones; rules that this machine did not make are kept.

    Args:
        group: The group; None if it does not exist yet.
        sources: The networks from which SSH is wanted.
    """
    rules = group.get("IpPermissions", []) if group else []
    known: dict[Network, str] = {}
    for rule in rules:
        if (rule.get("IpProtocol"), rule.get("FromPort"), rule.get("ToPort")) == ("tcp", SSH_PORT, SSH_PORT):
            for ip in rule.get("IpRanges", []):
                known[ipaddress.ip_network(ip["CidrIp"], strict=False)] = ip.get("Description", "")
            for ip6 in rule.get("Ipv6Ranges", []):
                known[ipaddress.ip_network(ip6["CidrIpv6"], strict=False)] = ip6.get("Description", "")
    inside = [rule for rule in rules if rule.get("IpProtocol") == "-1"]
    own = group.get("GroupId") if group else None
    return RuleChanges(
        added=tuple(one for one in sources if one not in known),
        removed=tuple(one for one, made_by in known.items() if made_by == describe_origin() and one not in sources),
        connects=not any(pair.get("GroupId") == own for rule in inside for pair in rule.get("UserIdGroupPairs", [])),
    )


def change(ec2: EC2Client, group_id: str, changes: RuleChanges) -> None:
    """Add the missing rules, then remove those that are no longer needed.

    https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_AuthorizeSecurityGroupIngress.html
    https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_RevokeSecurityGroupIngress.html
    """
    wanted = _build_rules(changes.added)
    if changes.connects:
        wanted.append({"IpProtocol": "-1", "UserIdGroupPairs": [{"GroupId": group_id}]})
    if wanted:
        try:
            api.authorize_ingress(ec2, group_id, wanted)
        except AWSError as error:
            if error.code != "InvalidPermission.Duplicate":  # an earlier attempt of this call was carried out
                raise
    if changes.removed:
        api.revoke_ingress(ec2, group_id, _build_rules(changes.removed))


def delete(ec2: EC2Client, group_id: str) -> None:
    """Delete a security group; wait until AWS has released it from instances that have ended.

    https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DeleteSecurityGroup.html
    """
    deadline = time.monotonic() + IN_USE_SECONDS
    while True:
        try:
            api.delete_security_group(ec2, group_id)
        except AWSError as error:
            if error.code == NOT_FOUND:
                return
            if error.code not in IN_USE:
                raise
            if time.monotonic() > deadline:
                users = f"aws ec2 describe-network-interfaces --filters Name=group-id,Values={group_id}"
                error.hint = f"something else uses it: {users}; release it, then run flambe-ans down again"
                raise
        else:
            return
        time.sleep(POLL_SECONDS)


def describe_origin() -> str:
    """Return the description of the rules that this user makes on this machine."""
    text = UNUSABLE.sub("-", f"flambe-ans: {getpass.getuser()}@{socket.gethostname()}")
    return text[:LONGEST_DESCRIPTION]


def _build_rules(networks: Iterable[Network]) -> list[IpPermissionTypeDef]:
    """Build the rules that let SSH in from these networks."""
    ranges = {4: [], 6: []}  # type: dict[int, list[str]]
    for network in networks:
        ranges[network.version].append(str(network))
    rule: IpPermissionTypeDef = {"IpProtocol": "tcp", "FromPort": SSH_PORT, "ToPort": SSH_PORT}
    if ranges[4]:
        rule["IpRanges"] = [{"CidrIp": one, "Description": describe_origin()} for one in ranges[4]]
    if ranges[6]:
        rule["Ipv6Ranges"] = [{"CidrIpv6": one, "Description": describe_origin()} for one in ranges[6]]
    return [rule] if ranges[4] or ranges[6] else []


def _read_tags(group: SecurityGroupTypeDef) -> dict[str, str]:
    return {tag["Key"]: tag["Value"] for tag in group.get("Tags", [])}
