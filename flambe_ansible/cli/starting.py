"""Connections to a cluster's hosts that start before the command line is parsed.

Parsing it, reading the cluster's file and asking the provider take as long as ssh does. See ``fleet.early``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flambe_ansible.ssh import Connections

# The commands that connect to the hosts of their file: to all of them, or to the orchestrator alone.
COMMANDS = {
    "exec": "all", "jobs": "head", "keep": "all", "launch": "all", "logs": "head", "open": "head", "pull": "head",
    "status": "all", "stop": "head", "submit": "all", "tunnel": "head",
}  # fmt: skip
_WITHOUT = frozenset({"--help", "-h", "--dry-run"})  # with them, no command connects


class Started:
    """The connections that were started for a file, if any; ``head_only`` if only the orchestrator is needed."""

    def __init__(self, file: str = "", connections: Connections | None = None, *, head_only: bool = False) -> None:
        self.head_only = head_only
        self._file = file
        self._connections = connections

    def take(self, file: str) -> Connections | None:
        """Return the connections for a file, once; None if there are none."""
        if file != self._file:
            return None
        found, self._connections = self._connections, None
        return found

    def close(self) -> None:
        """Close the connections that were not taken."""
        if self._connections is not None:
            self._connections.close()


@contextmanager
def connect(arguments: Sequence[str]) -> Iterator[Started]:
    """Start to connect to the hosts of the file that a command line names; close at the end what was not used."""
    started = _start(arguments)
    try:
        yield started
    finally:
        started.close()


def _start(arguments: Sequence[str]) -> Started:
    own = list(arguments[: arguments.index("--")] if "--" in arguments else arguments)
    words = [one for one in own if not one.startswith("-")]
    if not words or words[0] not in COMMANDS or _WITHOUT.intersection(own):
        return Started()
    from flambe_ansible.fleet import early

    is_job = words[0] == "submit" and len(own) < len(arguments)  # a command, which needs no other host
    head_only = is_job or COMMANDS[words[0]] == "head"
    for word in (*words[1:], *(one.partition("=")[2] for one in own if one.startswith("--cluster="))):
        if connections := early.connect(word, head_only=head_only):
            return Started(word, connections, head_only=head_only)
    return Started(head_only=head_only)
