"""One host of a live cluster, as the Python API hands it out."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from pathlib import Path

from flambe_ansible.hosts import Host
from flambe_ansible.ssh import Completed, Connections


class Instance:
    """A host and the way to it: what a ``ClusterRunnable`` needs on one host.

    Args:
        host: The host's data.
        connections: Returns the cluster's connections; called at the first use.
    """

    def __init__(self, host: Host, connections: Callable[[], Connections]) -> None:
        self.data = host
        self._connections = connections
        self._home: str | None = None

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name} {self.host}>"

    @property
    def name(self) -> str:
        """The host's name."""
        return self.data.name

    @property
    def host(self) -> str:
        """The address that this machine connects to."""
        return self.data.address

    @property
    def private_host(self) -> str:
        """The address that the other hosts connect to."""
        return self.data.private_ip or self.data.address

    def run(self, command: str, *, timeout: float | None = None, check: bool = True) -> Completed:
        """Run a shell command on the host, as the cluster's user.

        Args:
            command: The command, as one writes it in a shell.
            timeout: Seconds, or None.
            check: Whether an exit code other than 0 is an error.

        Raises:
            RemoteCommandError: It failed, or took too long.
            HostConnectionError: The host cannot be reached.
        """
        return self._connections().run(self.data, command, timeout=timeout, check=check)

    def run_cmds(self, setup_cmds: Sequence[str]) -> None:
        """Run commands in order; the first that fails ends it with ``RemoteCommandError``."""
        for command in setup_cmds:
            self.run(f"bash -c {shlex.quote(command)} </dev/null")

    def get_home_path(self) -> str:
        """Return the home folder of the cluster's user on the host."""
        if self._home is None:
            self._home = self.run('printf %s "$HOME"').stdout
        return self._home

    def create_dirs(self, relative_dirs: Sequence[str]) -> None:
        """Create folders below the home folder; those that exist stay as they are."""
        if relative_dirs:
            self.run("cd && mkdir -p -- " + shlex.join(relative_dirs))

    def send(self, local: str | Path, remote: str) -> None:
        """Copy a local file or folder to the host, by rsync: what is there already is not sent again."""
        self._connections().put(self.data, Path(local), remote)
