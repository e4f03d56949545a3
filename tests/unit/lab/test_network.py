"""The address range of the lab and its firewall rules."""

from __future__ import annotations

import ipaddress
import json
from pathlib import Path

import pytest

from flambe_ansible.errors import LabError
from flambe_ansible.lab import borrowing, firewall, network
from flambe_ansible.lab.disk import mac_address
from flambe_ansible.lab.state import Settings

LAB = Settings(name="a-lab", network="10.213.4.0/24", port=1, image="/image")

TAKEN = [
    ([], "10.213.0.0/24"),
    (["0.0.0.0/0"], "10.213.0.0/24"),
    (["10.213.0.0/24", "10.213.1.7"], "10.213.2.0/24"),
    (["10.213.0.1/16"], "172.29.0.0/24"),
    (["10.0.0.0/8"], "172.29.0.0/24"),
    (["10.0.0.0/8", "172.16.0.0/12"], "192.168.100.0/24"),
]


@pytest.mark.parametrize(("taken", "chosen"), TAKEN)
def test_a_free_range_is_chosen(taken: list[str], chosen: str) -> None:
    assert network.choose_range(taken) == chosen


def test_a_machine_without_a_free_range_is_an_error_with_a_hint() -> None:
    with pytest.raises(LabError) as caught:
        network.choose_range(["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"])
    assert caught.value.hint == "flambe-ans lab up --network 10.99.0.0/24"


def test_every_candidate_is_private() -> None:
    taken: list[str] = []
    for _ in range(10):
        taken.append(network.choose_range(taken))
    assert len(set(taken)) == 10
    assert all(ipaddress.ip_network(text).is_private for text in taken)


def test_nameservers() -> None:
    assert network.nameservers("# x\nnameserver 127.0.0.53\n nameserver 9.9.9.9\nsearch a\n") == [
        "127.0.0.53",
        "9.9.9.9",
    ]


def test_rules_refer_only_to_the_bridge_and_range_of_the_lab() -> None:
    rules = network.rules(LAB)
    assert all(LAB.bridge in rule or LAB.network in rule for rule in rules)
    assert {rule[0] for rule in rules} == set(firewall.TABLES)
    drop = next(rule for rule in rules if rule[-1] == "DROP")
    assert drop[:6] == ["mangle", "FORWARD", "-o", LAB.bridge, "!", "-i"]


def test_closing_rules_allow_traffic_within_one_interface(monkeypatch: pytest.MonkeyPatch) -> None:
    links = [
        {"ifname": "lo", "addr_info": [{"local": "127.0.0.1"}]},
        {"ifname": "eth0", "addr_info": [{"local": "192.0.2.2"}]},
        {"ifname": "br0", "addr_info": [{"local": "192.0.2.130"}]},
        {"ifname": "eth1", "addr_info": []},
        {"ifname": LAB.bridge, "addr_info": [{"local": LAB.gateway}]},
    ]
    monkeypatch.setattr(borrowing, "run", lambda *_argv: json.dumps(links))
    rules = borrowing.closing_rules(borrowing._interfaces())
    assert [rule[:5] for rule in rules] == [["-i", name, "!", "-o", name] for name in ("eth0", "br0")]
    assert all(rule[-1] == "DROP" for rule in rules)


def test_link_names_are_short_enough_for_the_kernel() -> None:
    for name in ("a", "b" * 64):
        assert len(Settings(name=name, network="10.0.0.0/24", port=1, image="").bridge) <= 15


def test_bridges_and_comments_of_labs_differ() -> None:
    other = Settings(name="a-lab-2", network="10.213.5.0/24", port=2, image="")
    assert other.bridge != LAB.bridge
    assert network.comment("a-lab-2") not in network.comment("a-lab")
    assert network.comment("a-lab") not in network.comment("a-lab-2")


def test_only_rules_with_the_exact_comment_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    saved = {
        "filter": '*filter\n:FORWARD ACCEPT [0:0]\n-A FORWARD -i fl-1 -m comment --comment "flambe-lab:a:" -j ACCEPT\n'
        '-A FORWARD -i fl-2 -m comment --comment "flambe-lab:ab:" -j ACCEPT\n-A FORWARD -j DROP\nCOMMIT\n'
    }
    monkeypatch.setattr(firewall, "run", lambda *argv: saved.get(argv[-1], ""))
    found = firewall.list_rules(network.comment("a"))
    assert [(table, words[2:4]) for table, words in found] == [("filter", ["-i", "fl-1"])]


def test_a_host_gets_only_reachable_name_servers(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    files = {
        "/etc/resolv.conf": "nameserver 127.0.0.53\noptions edns0\n",
        "/run/systemd/resolve/resolv.conf": "nameserver 9.9.9.9\nsearch x\n",
    }
    for name, text in files.items():
        path = tmp_path / name.lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    monkeypatch.setattr(network, "Path", lambda name: tmp_path / name.lstrip("/"))
    assert network.resolv_conf() == "nameserver 9.9.9.9\nsearch x\n"


def test_link_addresses_are_derived_from_addresses() -> None:
    assert mac_address("10.213.0.4") == "02:fb:0a:d5:00:04"
    assert mac_address("10.213.0.4") != mac_address("10.213.0.5")
