"""Security groups that filter: a host's inbound rules, as an nftables table in its own network namespace.

Rules on the bridge would need br_netfilter. As on EC2, connections that a rule has allowed go on after it is removed,
and outbound connections are not limited.

https://docs.aws.amazon.com/vpc/latest/userguide/security-group-rules.html
https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/security-group-connection-tracking.html
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

from flambe_ansible.lab import disk, namespace
from flambe_ansible.lab.answers import Answer, RefusedError
from flambe_ansible.lab.cloud import Cloud
from flambe_ansible.lab.state import Settings
from flambe_ansible.lab.system import run

FILE = "firewall.nft"
LINK = "eth0"  # the host's network interface

# The table is replaced in one transaction. Neighbour discovery is not subject to security groups.
_TABLE = """table inet flambe_lab
delete table inet flambe_lab
table inet flambe_lab {{
    chain inbound {{
        type filter hook prerouting priority mangle; policy drop;
        iifname != "{link}" accept
        ct state established,related accept
        icmpv6 type {{ nd-neighbor-solicit, nd-neighbor-advert, nd-router-advert }} accept
{rules}
    }}
}}
"""


def find_groups(instance: Any) -> list[Any]:
    """Return the security groups of an instance of moto."""
    found = {group.id: group for group in instance.security_groups}
    for nic in instance.nics.values():
        found |= {group.id: group for group in nic.group_set}
    return [found[name] for name in sorted(found)]


def find_members(instances: Iterable[Any]) -> dict[str, list[str]]:
    """Return the private addresses of each group's members, by the group's id."""
    members: dict[str, list[str]] = {}
    for instance in instances:
        if instance.state != "terminated" and instance.private_ip:
            for group in find_groups(instance):
                members.setdefault(group.id, []).append(instance.private_ip)
    return {name: sorted(addresses) for name, addresses in members.items()}


def render(groups: Sequence[Any], members: Mapping[str, Collection[str]]) -> str:
    """Write the rules of a host in these groups, for ``nft -f``."""
    lines = dict.fromkeys(line for group in groups for rule in group.ingress_rules for line in _render(rule, members))
    return _TABLE.format(link=LINK, rules="\n".join(f"        {line}" for line in lines))


def apply(settings: Settings, host: str, text: str) -> None:
    """Set the rules of a host: those that it boots with, and, if it runs, its current ones."""
    path = disk.folder(settings, host) / FILE
    path.write_text(text)
    process = namespace.find(settings, host)
    if process is not None:
        run("nsenter", f"--net=/proc/{process}/ns/net", "nft", "-f", path)


def delete_group(cloud: Cloud, parameters: Mapping[str, Any], forward: Callable[[], Answer]) -> Answer:
    """Delete a security group, unless an instance or a rule of another group uses it; moto does not check this.

    https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DeleteSecurityGroup.html
    """
    name = parameters.get("GroupId") or parameters.get("GroupName")
    group = cloud.ec2.get_security_group_by_name_or_id(name) if name else None
    if group is None:
        return forward()
    if group.is_default:
        raise RefusedError("CannotDelete", f'the specified group: "{group.id}" name: "default" cannot be deleted')
    others = [one for one in cloud.ec2.describe_security_groups() if one is not group]
    referenced = any(rule.source_group.get("GroupId") == group.id for one in others for rule in one.ingress_rules)
    if referenced or group.id in find_members(cloud.instances()):
        raise RefusedError("DependencyViolation", f"resource {group.id} has a dependent object")
    return forward()


def _render(rule: Any, members: Mapping[str, Collection[str]]) -> Iterator[str]:
    """Write one rule of a group; a group without members allows nothing."""
    source = ""
    if network := rule.ip_range.get("CidrIp"):
        source = "meta nfproto ipv4" if network == "0.0.0.0/0" else f"ip saddr {network}"
    elif network := rule.ip_range.get("CidrIpv6"):
        source = "meta nfproto ipv6" if network == "::/0" else f"ip6 saddr {network}"
    elif addresses := members.get(rule.source_group.get("GroupId", ""), ()):
        source = f"ip saddr {{ {', '.join(addresses)} }}"
    if source:
        yield " ".join(filter(None, (source, _render_protocol(rule), "accept")))


def _render_protocol(rule: Any) -> str:
    """Write the protocol and the ports of a rule; ICMP has a type and a code in their place, -1 for all."""
    protocol, first, last = str(rule.ip_protocol), rule.from_port, rule.to_port
    if protocol == "-1":
        return ""
    if protocol in ("tcp", "udp"):
        return f"{protocol} dport {first}" if first == last else f"{protocol} dport {first}-{last}"
    if protocol == "icmp":
        kind = (
            "" if first in (None, -1) else f" icmp type {first}" + ("" if last in (None, -1) else f" icmp code {last}")
        )
        return f"meta l4proto icmp{kind}"
    return f"meta l4proto {'ipv6-icmp' if protocol in ('icmpv6', '58') else protocol}"
