"""The hosts of a cluster that no service lists, recorded in the cluster's state folder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from flambe_ansible.files import read_versioned, write_json
from flambe_ansible.hosts import Host, HostState, Role

HOSTS_FILE = "hosts.json"
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
