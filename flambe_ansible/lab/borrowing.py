"""What labs change on the machine itself: packet forwarding, and the limit of inotify instances for root.

The last lab that goes down restores both.
"""

from __future__ import annotations

import json
from collections.abc import Iterable

from flambe_ansible.files import lock, write_json
from flambe_ansible.lab import firewall, state
from flambe_ansible.lab.system import run

_FORWARDING = "net.ipv4.ip_forward"
_INOTIFY = "fs.inotify.max_user_instances"
_INOTIFY_NEEDED = 8192  # a host's services take about ten; the usual limit of 128 is enough for ten hosts
_CLOSED = "flambe-lab:forwarding"


def borrow(lab: str) -> None:
    """Turn on packet forwarding and raise the inotify limit; record the previous values, and who uses them."""
    path = state.root() / "machine.json"
    with lock(state.root() / "locks" / ".machine"):
        known = state.read_json(path)
        if known is None:
            known = {"forwarding": _read(_FORWARDING), "tables": firewall.list_tables(), "labs": []}
        known.setdefault("inotify", _read(_INOTIFY))
        known.setdefault("interfaces", _interfaces())  # later interfaces may be set up to forward
        known["labs"] = sorted({*known["labs"], lab})
        write_json(path, known)
        if known["forwarding"] != "1":
            firewall.remove_rules(_CLOSED)
            for rule in closing_rules(known["interfaces"]):
                firewall.add_rule("filter", "FORWARD", rule, _CLOSED, last=True)
            run("sysctl", "-q", "-w", f"{_FORWARDING}=1")
        if int(known["inotify"]) < _INOTIFY_NEEDED:
            run("sysctl", "-q", "-w", f"{_INOTIFY}={_INOTIFY_NEEDED}", check=False)


def give_back(lab: str) -> None:
    """Restore the machine's settings if this was the last lab."""
    path = state.root() / "machine.json"
    with lock(state.root() / "locks" / ".machine"):
        known = state.read_json(path)
        if known is None:
            return
        known["labs"] = [name for name in known["labs"] if name != lab]
        if known["labs"]:
            write_json(path, known)
            return
        if known["forwarding"] != "1":
            run("sysctl", "-q", "-w", f"{_FORWARDING}={known['forwarding']}")
        if int(known.get("inotify", _INOTIFY_NEEDED)) < _INOTIFY_NEEDED:
            run("sysctl", "-q", "-w", f"{_INOTIFY}={known['inotify']}", check=False)
        firewall.remove_rules(_CLOSED)
        firewall.drop_empty_tables(known["tables"])
        path.unlink()


def closing_rules(interfaces: Iterable[str]) -> list[list[str]]:
    """List the FORWARD rules for a machine that did not forward before the first lab.

    The machine must not become a router between its other networks. A rule without interfaces would also stop frames
    within another bridge, because br_netfilter passes them to FORWARD with that bridge as both interfaces.
    """
    new = ["-m", "conntrack", "!", "--ctstate", "RELATED,ESTABLISHED"]
    return [["-i", name, "!", "-o", name, *new, "-j", "DROP"] for name in interfaces]


def _interfaces() -> list[str]:
    """List the machine's interfaces with an IPv4 address, without the loopback and the bridges of labs."""
    links = json.loads(run("ip", "-json", "-4", "addr") or "[]")
    names = [link["ifname"] for link in links if link.get("addr_info")]
    return [name for name in names if name != "lo" and not name.startswith(state.BRIDGE_PREFIX)]


def _read(name: str) -> str:
    """Read a kernel setting."""
    return run("sysctl", "-n", name).strip()
