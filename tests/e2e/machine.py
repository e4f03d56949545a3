"""Finds leftovers of a lab among the resources of the machine."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterable
from pathlib import Path

from flambe_ansible.lab import state

Snapshot = dict[str, set[str]]

_COMMANDS = {
    "ip netns": ["ip", "netns"],
    "ip link": ["ip", "-oneline", "link"],
    "ip addr": ["ip", "-oneline", "addr"],
    "ip route": ["ip", "route", "show", "table", "all"],
    "mount": ["mount"],
    "iptables-save": ["iptables-save"],
    "nft tables": ["nft", "list", "tables"],
    "sysctl": ["sysctl", "net.ipv4.ip_forward", "fs.inotify.max_user_instances"],
    "ps": ["ps", "-eo", "args"],
}


def look() -> Snapshot:
    """List the resources of the machine."""
    found = {name: _lines(command) for name, command in _COMMANDS.items()}
    found["cgroups"] = {str(path) for path in Path("/sys/fs/cgroup").glob("*/flambe-lab/*")}
    found["cgroups"] |= {str(path) for path in Path("/sys/fs/cgroup").glob("flambe-lab/*")}
    return found


def find_leftovers(before: Snapshot, after: Snapshot, lab: str) -> dict[str, set[str]]:
    """Return the resources that were added or removed, without those of other labs."""
    foreign = [name for name in _other_labs() if name != lab]
    found = {}
    for kind, lines in after.items():
        if kind == "ps" or (foreign and kind in {"sysctl", "nft tables"}):
            changed = {line for line in lines if lab in line}
        else:
            changed = {line for line in lines ^ before[kind] if not _is_foreign(line, lab, foreign)}
        if changed:
            found[kind] = changed
    return found


def _other_labs() -> list[str]:
    """List the labs that exist."""
    return [settings.name for settings in state.all_labs()]


def _is_foreign(line: str, lab: str, foreign: Iterable[str]) -> bool:
    """Return whether a line belongs to other labs, or to the links (flt-) of another test run."""
    own = f"fl-{state.short(lab)}"
    if own in line or f":{lab}:" in line or f"/{lab}" in line:
        return False
    names_link = re.search(r"\b((fl-|fv)[0-9a-f]{8}|flt-\w+)\b", line) is not None
    return names_link or "flambe-lab" in line or any(name in line for name in foreign)


def _lines(command: list[str]) -> set[str]:
    """Run a command and remove counters, link numbers and times from its output."""
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    kept = [line for line in printed.splitlines() if not line.startswith("#")]
    return {re.sub(r"\[\d+:\d+\]|^\d+: |valid_lft .*", "", line).strip() for line in kept}
