"""What is recorded in the cluster's state folder: hosts that no service lists, hosts that answered last, and GPUs."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from flambe_ansible import gpus
from flambe_ansible.files import StateVersionError, read_versioned, write_json
from flambe_ansible.gpus import HostGpus
from flambe_ansible.hosts import Host, HostState, Role, find_heads, sort_hosts

HOSTS_FILE = "hosts.json"
GPUS_FILE = "gpus.json"
REACHED_FILE = "reached.json"  # a hint only: which hosts a command probably needs
VERSION = 1


def read_hosts(state_dir: Path, file: str = HOSTS_FILE) -> list[Host]:
    """Read the recorded hosts; none if there is no readable record.

    Raises:
        StateVersionError: Another version of this package wrote the record.
    """
    remedy = "remove it, then launch again"
    try:
        document = read_versioned(state_dir / file, version=VERSION, remedy=remedy, unversioned=list)
        rows = document["hosts"] if isinstance(document, dict) else document or []
        return [Host(**{**row, "role": Role(row["role"]), "state": HostState(row["state"])}) for row in rows]
    except (ValueError, TypeError, KeyError):
        return []


def write_hosts(state_dir: Path, hosts: Sequence[Host]) -> None:
    """Replace the record."""
    read_hosts(state_dir)  # refuses one of another version
    write_json(state_dir / HOSTS_FILE, {"version": VERSION, "hosts": [asdict(host) for host in hosts]})


def read_reached(state_dir: Path, *, head_only: bool = False) -> list[Host]:
    """Read which hosts answered last, or whether the orchestrator did; none if there is no readable record."""
    try:
        hosts = read_hosts(state_dir, REACHED_FILE)
        return find_heads(hosts) if head_only else hosts
    except (OSError, StateVersionError):
        return []


def write_reached(state_dir: Path, hosts: Sequence[Host], *, silent: Collection[str]) -> None:
    """Record which of these hosts answered, and which did not (names); the record of others is unchanged."""
    before = {host.name: host for host in read_reached(state_dir)}
    after = {**before, **{host.name: host for host in hosts}}
    kept = sort_hosts(host for name, host in after.items() if name not in silent)
    if kept != list(before.values()):
        with contextlib.suppress(OSError):
            write_json(state_dir / REACHED_FILE, {"version": VERSION, "hosts": [asdict(host) for host in kept]})


def forget_hosts(state_dir: Path) -> None:
    """Remove the record."""
    (state_dir / HOSTS_FILE).unlink(missing_ok=True)


def read_gpus(state_dir: Path, hosts: Sequence[Host]) -> dict[str, HostGpus]:
    """Return the GPUs of these hosts at the last launch, by name; hosts that were not probed then are left out."""
    try:
        document = json.loads((state_dir / GPUS_FILE).read_text(encoding="utf-8"))
        return {one.name: gpus.parse(json.dumps(document[one.key_alias])) for one in hosts if one.key_alias in document}
    except (OSError, ValueError, TypeError):
        return {}


def write_gpus(state_dir: Path, hosts: Sequence[Host], found: Mapping[str, HostGpus]) -> None:
    """Replace the record of the GPUs of hosts."""
    known = {host.key_alias: found[host.name].to_dict() for host in hosts if host.name in found}
    write_json(state_dir / GPUS_FILE, known)
