"""Connections to a cluster's hosts that start before its file is read: that takes as long as ssh does.

A command records for its file how it connected. The next command with the same, unchanged file connects in the same
way to the hosts that answered last. Such a connection is used only if the file and the provider lead to the same host,
with the same user, key and host key; see ``Connections.adopt``.
"""

from __future__ import annotations

import contextlib
import hashlib
from pathlib import Path

from flambe_ansible.errors import FlambeAnsibleError
from flambe_ansible.files import read_versioned, write_json
from flambe_ansible.fleet import records
from flambe_ansible.paths import state_root
from flambe_ansible.ssh import Connections, Patience

FOLDER = "files"
VERSION = 1
_REMEDY = "remove it"


def connect(file: str, *, head_only: bool = False) -> Connections | None:
    """Start to connect to the hosts of a cluster's file; None if no command has connected with this content of it.

    With ``head_only``, only to the orchestrator.
    """
    path = Path(file)
    try:
        if not path.is_file():  # a pipe can be read once
            return None
        known = read_versioned(_find_record(path), version=VERSION, remedy=_REMEDY)
        if known is None or known["digest"] != _digest(path):
            return None
        connections = Connections(
            username=known["username"],
            key=Path(known["key"]),
            known_hosts=Path(known["known_hosts"]),
            proxy_jump=known["proxy_jump"],
            answer=Patience(seconds=float(known["answer"])),
        )
        connections.connect_early(records.read_reached(connections.known_hosts.parent, head_only=head_only))
    except (OSError, ValueError, KeyError, TypeError, FlambeAnsibleError):  # it is only a hint
        return None
    return connections


def record(file: str, connections: Connections) -> None:
    """Record how a command connected to the hosts of a cluster's file; a failure is ignored."""
    path = Path(file)
    if not path.is_file():
        return
    with contextlib.suppress(OSError, ValueError, FlambeAnsibleError):
        target = _find_record(path)
        document = {
            "version": VERSION,
            "digest": _digest(path),
            "username": connections.username,
            "key": str(connections.key),
            "known_hosts": str(connections.known_hosts),
            "proxy_jump": connections.proxy_jump,
            "answer": connections.answer.seconds,
        }
        if read_versioned(target, version=VERSION, remedy=_REMEDY) != document:
            target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_json(target, document)


def _find_record(file: Path) -> Path:
    return state_root() / FOLDER / f"{hashlib.sha256(str(file.resolve()).encode()).hexdigest()[:16]}.json"


def _digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()
