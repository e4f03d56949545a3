"""A provider in three methods: find the hosts, undo what was created, check the arguments."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from flambe_ansible import Cluster
from flambe_ansible.errors import ClusterConfigurationError, Problem


class FileCluster(Cluster):
    """A cluster whose hosts are listed in a file.

    Args:
        hosts_file: One line per host: its address, optionally followed by its private address. Lines that start with
            # are comments.
        port: The SSH port of the hosts.
        kwargs: The arguments of all clusters: name, key, username, setup_cmds and so on.
    """

    def __init__(self, hosts_file: Path, port: int = 22, **kwargs: Any) -> None:
        self.hosts_file = Path(hosts_file)
        self.port = port
        super().__init__(factories_num=max(len(self._read()) - 1, 0), **kwargs)

    def load_all_instances(self) -> None:
        """Load the hosts from the file. A provider that creates hosts would create missing hosts here."""
        orchestrator, *factories = self._read()
        self.get_orchestrator(*orchestrator, port=self.port)
        for addresses in factories:
            self.get_factory(*addresses, port=self.port)

    def rollback_env(self) -> None:
        """Do nothing. A provider that creates hosts would terminate the hosts it created."""

    def parse(self) -> None:
        """Check that the file lists an orchestrator and a factory."""
        if not self.factories_num:
            message = f"hosts_file is {self.hosts_file}, which lists {len(self._read())} hosts"
            raise ClusterConfigurationError.of(
                [Problem(file="", line=0, column=0, message=message, expected="at least 2", field="hosts_file")]
            )

    def _read(self) -> list[list[str]]:
        try:
            lines = self.hosts_file.read_text().splitlines()
        except OSError:
            return []
        return [line.split()[:2] for line in lines if line.strip() and not line.startswith("#")]
