"""Connections to a cluster's hosts that start before the command line is parsed.

Parsing it, reading the cluster's file and asking the provider take as long as ssh does. See ``fleet.early``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flambe_ansible.ssh import Connections

COMMANDS = frozenset({"exec", "launch", "status"})  # that connect to the hosts of their file
_WITHOUT = frozenset({"--help", "-h", "--dry-run"})  # with them, no command connects


class Started:
    """The connections that were started for a file, if any."""

    def __init__(self, file: str = "", connections: Connections | None = None) -> None:
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

    for word in words[1:]:
        if connections := early.connect(word):
            return Started(word, connections)
    return Started()
