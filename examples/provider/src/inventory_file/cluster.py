"""A provider in three hooks: where the hosts are, what to undo, what to check."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from flambe_ansible import Cluster
from flambe_ansible.errors import ClusterConfigurationError, Problem


class FileCluster(Cluster):
    """A cluster of the hosts in a file.

    Args:
        hosts_file: A line for each host: its address, and behind a space its private address if it has another. Lines
            that begin with # are comments.
        port: Where the hosts' sshd listens.
        kwargs: The arguments of every cluster: name, key, username, setup_cmds and so on.
    """

    def __init__(self, hosts_file: Path, port: int = 22, **kwargs: Any) -> None:
        self.hosts_file = Path(hosts_file)
        self.port = port
        super().__init__(factories_num=max(len(self._read()) - 1, 0), **kwargs)

    def load_all_instances(self) -> None:
        """Take the hosts from the file. A provider that makes hosts would make those that are missing here."""
        orchestrator, *factories = self._read()
        self.get_orchestrator(*orchestrator, port=self.port)
        for addresses in factories:
            self.get_factory(*addresses, port=self.port)

    def rollback_env(self) -> None:
        """Undo what this object created: nothing. A provider that makes hosts would end those that it made."""

    def parse(self) -> None:
        """Check the file before anything is done."""
        if not self.factories_num:
            message = f"hosts_file is {self.hosts_file}, which lists {len(self._read())} of at least 2 hosts"
            raise ClusterConfigurationError.of(
                [Problem(file="", line=0, column=0, message=message, expected="a line for each", field="hosts_file")]
            )

    def _read(self) -> list[list[str]]:
        try:
            lines = self.hosts_file.read_text().splitlines()
        except OSError:
            return []
        return [line.split()[:2] for line in lines if line.strip() and not line.startswith("#")]
