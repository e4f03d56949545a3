"""The lab's network: a bridge that is not reachable from outside the machine.

Every rule has the lab's name in its comment, which identifies it for removal.
"""

from __future__ import annotations

import ipaddress
import json
import re
from collections.abc import Iterable
from pathlib import Path

from flambe_ansible.errors import LabError
from flambe_ansible.lab import borrowing, firewall, state
from flambe_ansible.lab.state import Settings
from flambe_ansible.lab.system import run


def choose_range(taken: Iterable[str]) -> str:
    """Choose a /24 that overlaps no network or address in use; a default route does not count."""
    used = [network for text in taken if (network := ipaddress.ip_network(text, strict=False)).prefixlen > 0]
    candidates = [f"10.213.{n}.0/24" for n in range(256)]
    candidates += [f"172.29.{n}.0/24" for n in range(256)] + [f"192.168.{n}.0/24" for n in range(100, 256)]
    for text in candidates:
        candidate = ipaddress.ip_network(text)
        if not any(network.version == 4 and candidate.overlaps(network) for network in used):
            return text
    raise LabError("no private address range is free on this machine", hint="flambe-ans lab up --network 10.99.0.0/24")


def used_ranges() -> list[str]:
    """List the address ranges that this machine uses: routes, addresses, name servers, other labs."""
    routes = json.loads(run("ip", "-json", "-4", "route", "show", "table", "all") or "[]")
    found = [route["dst"] for route in routes if route["dst"] != "default"]
    links = json.loads(run("ip", "-json", "-4", "addr") or "[]")
    found += [f"{a['local']}/{a['prefixlen']}" for link in links for a in link.get("addr_info", ())]
    found += nameservers(Path("/etc/resolv.conf").read_text()) if Path("/etc/resolv.conf").exists() else []
    found += [settings.network for settings in state.all_labs()]
    return [text for text in found if ":" not in text]


def nameservers(text: str) -> list[str]:
    """Read the addresses of a resolv.conf."""
    return re.findall(r"^\s*nameserver\s+(\S+)", text, re.MULTILINE)


def resolv_conf() -> str:
    """Return a resolv.conf for hosts, without name servers on the machine's loopback."""
    paths = [Path("/etc/resolv.conf"), Path("/run/systemd/resolve/resolv.conf")]
    for path in paths:
        text = path.read_text() if path.exists() else ""
        outside = [address for address in nameservers(text) if not address.startswith("127.") and address != "::1"]
        if outside:
            kept = [line for line in text.splitlines() if re.match(r"\s*(search|options)\s", line)]
            return "\n".join([*(f"nameserver {address}" for address in outside), *kept]) + "\n"
    return ""


def rules(settings: Settings) -> list[list[str]]:
    """List the lab's rules: hosts reach each other and the outside; new connections from outside are dropped."""
    bridge, network = settings.bridge, settings.network
    known = ["-m", "conntrack", "--ctstate", "RELATED,ESTABLISHED"]
    unknown = ["-m", "conntrack", "!", "--ctstate", "RELATED,ESTABLISHED"]
    return [
        ["mangle", "FORWARD", "-o", bridge, "!", "-i", bridge, *unknown, "-j", "DROP"],
        ["filter", "FORWARD", "-o", bridge, *known, "-j", "ACCEPT"],
        ["filter", "FORWARD", "-i", bridge, "-j", "ACCEPT"],
        ["filter", "INPUT", "-i", bridge, *known, "-j", "ACCEPT"],
        ["nat", "POSTROUTING", "-s", network, "!", "-o", bridge, "-j", "MASQUERADE"],
    ]


def up(settings: Settings) -> None:
    """Create the bridge, the rules and the forwarding, unless they exist."""
    borrowing.borrow(settings.name)
    bridge = settings.bridge
    if not Path("/sys/class/net", bridge).exists():
        run("ip", "link", "add", bridge, "type", "bridge")
    run("ip", "link", "set", bridge, "mtu", str(uplink_mtu()), "alias", f"flambe-lab {settings.name}", "up")
    run("ip", "addr", "replace", f"{settings.gateway}/24", "dev", bridge)
    present = firewall.list_rules(comment(settings.name))
    wanted = rules(settings)
    if len(present) != len(wanted):
        firewall.remove_rules(comment(settings.name))
        for table, chain, *rest in wanted:
            firewall.add_rule(table, chain, rest, comment(settings.name))


def down(settings: Settings) -> None:
    """Remove everything that ``up`` created, and links that hosts left on the bridge."""
    firewall.remove_rules(comment(settings.name))
    bridge = Path("/sys/class/net", settings.bridge)
    if bridge.exists():
        for link in (bridge / "brif").iterdir():
            run("ip", "link", "delete", link.name, check=False)
        run("ip", "link", "delete", settings.bridge)
    borrowing.give_back(settings.name)


def link_name(lab: str, host: str) -> str:
    """Name the machine's end of a host's link."""
    return f"fv{state.short(lab, host)}"


def comment(lab: str) -> str:
    """Return the comment of a lab's rules."""
    return f"flambe-lab:{lab}:"


def uplink_mtu() -> int:
    """Return the smallest MTU of the machine's default routes."""
    routes = json.loads(run("ip", "-json", "-4", "route", "show", "default") or "[]")
    sizes = [Path("/sys/class/net", route["dev"], "mtu") for route in routes if "dev" in route]
    return min((int(path.read_text()) for path in sizes if path.exists()), default=1500)
