"""The hosts of a cluster that no service lists, remembered in the cluster's state folder."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from flambe_ansible.hosts import Host, HostState, Role

HOSTS_FILE = "hosts.json"


def read_hosts(state_dir: Path) -> list[Host]:
    """Read the hosts that were remembered; none where there is no record, or none that can be read."""
    try:
        rows = json.loads((state_dir / HOSTS_FILE).read_text())
        return [Host(**{**row, "role": Role(row["role"]), "state": HostState(row["state"])}) for row in rows]
    except (FileNotFoundError, ValueError, TypeError, KeyError):
        return []


def write_hosts(state_dir: Path, hosts: Sequence[Host]) -> None:
    """Remember these hosts, in place of those before."""
    write_json(state_dir / HOSTS_FILE, [asdict(host) for host in hosts])


def forget_hosts(state_dir: Path) -> None:
    """Remember no host."""
    (state_dir / HOSTS_FILE).unlink(missing_ok=True)


def write_json(path: Path, document: object) -> None:
    """Write a document (0600) in one step."""
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=path.name)
    with os.fdopen(descriptor, "w") as file:
        json.dump(document, file, indent=1)
    Path(name).replace(path)
