"""The inbound rules of a lab host, from its security groups."""

from __future__ import annotations

import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from flambe_ansible.lab import groups, namespace
from flambe_ansible.lab.answers import RefusedError
from flambe_ansible.lab.state import Settings


def rule(protocol: str, first: int | None = None, last: int | None = None, **source: Any) -> SimpleNamespace:
    pair = {"GroupId": source["group"]} if "group" in source else {}
    ranges = {key: value for key, value in source.items() if key.startswith("Cidr")}
    return SimpleNamespace(ip_protocol=protocol, from_port=first, to_port=last, ip_range=ranges, source_group=pair)


ANY = {"CidrIp": "0.0.0.0/0"}
MEMBERS = {"sg-1": ["10.213.0.4", "10.213.0.5"]}
RULES = [
    (rule("tcp", 22, 22, **ANY), "meta nfproto ipv4 tcp dport 22 accept"),
    (rule("tcp", 22, 22, CidrIp="203.0.113.7/32"), "ip saddr 203.0.113.7/32 tcp dport 22 accept"),
    (rule("udp", 4000, 4100, CidrIpv6="2001:db8::/48"), "ip6 saddr 2001:db8::/48 udp dport 4000-4100 accept"),
    (rule("tcp", 0, 65535, CidrIpv6="::/0"), "meta nfproto ipv6 tcp dport 0-65535 accept"),
    (rule("-1", group="sg-1"), "ip saddr { 10.213.0.4, 10.213.0.5 } accept"),
    (rule("-1", **ANY), "meta nfproto ipv4 accept"),
    (rule("icmp", -1, -1, **ANY), "meta nfproto ipv4 meta l4proto icmp accept"),
    (rule("icmp", 8, -1, **ANY), "meta nfproto ipv4 meta l4proto icmp icmp type 8 accept"),
    (rule("icmp", 3, 4, **ANY), "meta nfproto ipv4 meta l4proto icmp icmp type 3 icmp code 4 accept"),
    (rule("icmpv6", -1, -1, CidrIpv6="::/0"), "meta nfproto ipv6 meta l4proto ipv6-icmp accept"),
    (rule("50", -1, -1, **ANY), "meta nfproto ipv4 meta l4proto 50 accept"),
    (rule("-1", group="sg-without-members"), None),
]


def render(*rules: SimpleNamespace) -> str:
    return groups.render([SimpleNamespace(ingress_rules=list(rules))], MEMBERS)


@pytest.mark.parametrize(("one", "line"), RULES, ids=[str(line) for _, line in RULES])
def test_a_rule_is_a_line(one: SimpleNamespace, line: str | None) -> None:
    added = set(render(one).splitlines()) - set(render().splitlines())
    assert {text.strip() for text in added} == ({line} if line else set())


def test_without_a_rule_everything_is_dropped() -> None:
    assert "policy drop" in render()
    assert [line for line in render().splitlines() if "saddr" in line or "dport" in line] == []


def test_a_number_of_another_process_is_ignored(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The number of an ended supervisor may belong to any process by now."""
    settings = Settings(name="x", network="10.213.0.0/24", port=1, image="")
    monkeypatch.setattr(namespace.disk, "folder", lambda _settings, host: tmp_path / host)
    assert namespace.find(settings, "i-1") is None
    (tmp_path / "i-1").mkdir()
    for argument, found in (("another", False), (str(tmp_path / "i-1"), True)):
        argv = ["sh", "-c", "echo; read line", argument]
        with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
            assert process.stdout
            process.stdout.readline()
            (tmp_path / "i-1" / namespace.PROCESS_FILE).write_text(f"{process.pid}\n")
            assert namespace.find(settings, "i-1") == (process.pid if found else None)
    assert namespace.find(settings, "i-1") is None


def test_the_default_group_cannot_be_deleted() -> None:
    group = SimpleNamespace(id="sg-1", is_default=True)
    cloud = SimpleNamespace(ec2=SimpleNamespace(get_security_group_by_name_or_id=lambda _name: group))
    with pytest.raises(RefusedError, match="cannot be deleted"):
        groups.delete_group(cloud, {"GroupId": "sg-1"}, lambda: pytest.fail("forwarded"))  # type: ignore[arg-type]
