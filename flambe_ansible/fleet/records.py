"""What a launch records in the cluster's state folder: hosts that no service lists, and the GPUs of all hosts."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from flambe_ansible import gpus
from flambe_ansible.files import read_versioned, write_json
from flambe_ansible.gpus import HostGpus
from flambe_ansible.hosts import Host, HostState, Role

HOSTS_FILE = "hosts.json"
GPUS_FILE = "gpus.json"
VERSION = 1


def read_hosts(state_dir: Path) -> list[Host]:
    """Read the recorded hosts; none if there is no readable record.

    Raises:
        StateVersionError: Another version of this package wrote the record.
    """
    remedy = "remove it, then launch again"
    try:
        document = read_versioned(state_dir / HOSTS_FILE, version=VERSION, remedy=remedy, unversioned=list)
        rows = document["hosts"] if isinstance(document, dict) else document or []
        return [Host(**{**row, "role": Role(row["role"]), "state": HostState(row["state"])}) for row in rows]
    except (ValueError, TypeError, KeyError):
        return []


def write_hosts(state_dir: Path, hosts: Sequence[Host]) -> None:
    """Replace the record."""
    read_hosts(state_dir)  # refuses one of another version
    write_json(state_dir / HOSTS_FILE, {"version": VERSION, "hosts": [asdict(host) for host in hosts]})


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
