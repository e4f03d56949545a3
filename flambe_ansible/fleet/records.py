"""The hosts of a cluster that no service lists, recorded in the cluster's state folder."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from flambe_ansible.files import write_json
from flambe_ansible.hosts import Host, HostState, Role

HOSTS_FILE = "hosts.json"


def read_hosts(state_dir: Path) -> list[Host]:
    """Read the recorded hosts; none if there is no readable record."""
    try:
        rows = json.loads((state_dir / HOSTS_FILE).read_text())
        return [Host(**{**row, "role": Role(row["role"]), "state": HostState(row["state"])}) for row in rows]
    except (FileNotFoundError, ValueError, TypeError, KeyError):
        return []


def write_hosts(state_dir: Path, hosts: Sequence[Host]) -> None:
    """Replace the record."""
    write_json(state_dir / HOSTS_FILE, [asdict(host) for host in hosts])


def forget_hosts(state_dir: Path) -> None:
    """Remove the record."""
    (state_dir / HOSTS_FILE).unlink(missing_ok=True)
