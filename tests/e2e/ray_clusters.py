"""A cluster with ``runtime: ray`` for tests: its configuration, and commands on it."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import yaml

from flambe_ansible.lab import LabInfo
from tests.e2e import cloud
from tests.e2e.commands import PROGRAM, Commands

NAME = "e2e_ray"
VERSION = "2.60.0"
PACKAGES = ["ray[tune]", "tensorboardX"]  # of examples/ray
TOKEN = ".ray/auth_token"
NODES = "/opt/ray/bin/ray-nodes"


class RayCluster(Commands):
    """A configuration of one orchestrator and two factories, and commands on it."""

    def __init__(self, folder: Path, lab: LabInfo) -> None:
        super().__init__(folder)
        self.lab = lab
        self.first_launch: dict[str, Any] = {}
        self.progress = ""  # standard error of the latest command
        self.write()

    def write(self, **changes: Any) -> None:
        """Write the configuration; ``runtime`` and other fields can be changed."""
        fields = {
            "name": NAME,
            "lab": self.lab.name,
            "factories_num": 2,
            "runtime": {"ray": VERSION, "packages": PACKAGES},
            "factories_resources": {"accelerator": 1},
            **changes,
        }
        self.file.write_text("!LabCluster\n" + yaml.safe_dump(fields))

    def call(
        self, command: str, *arguments: Any, code: int | None = 0, environment: dict[str, str] | None = None
    ) -> str:
        """Run a command of flambe-ans on the cluster; return stdout, or both outputs after a failure."""
        done = self.execute(command, self.file, *arguments, code=code, env={**self.environment, **(environment or {})})
        self.progress = done.stderr
        return done.stdout if done.returncode == 0 else done.stdout + done.stderr

    def document(self, command: str, *arguments: Any) -> Any:
        """Run a command and return its JSON document."""
        return json.loads(self.call(command, "--json", *arguments))

    def launch(self, *arguments: Any) -> dict[str, Any]:
        """Launch, and return the document."""
        document: dict[str, Any] = self.document("launch", "--yes", *arguments)
        return document

    def on(self, host: str, command: str, *, code: int | None = 0) -> str:
        """Run a command on a host: ``orchestrator``, ``factory 0`` or ``factory 1``."""
        words = [] if host == "orchestrator" else host.split()
        return self.call("ssh", *words, "--", command, code=code)

    def send(self, host: str, path: str, data: bytes) -> None:
        """Write a file on a host, as root; ``host`` as in ``on``."""
        words = [] if host == "orchestrator" else host.split()
        command = f"sudo install -D -m 644 /dev/stdin {path}"
        argv = [PROGRAM, "ssh", str(self.file), *words, "--", command]
        subprocess.run(argv, env=self.environment, input=data, check=True)

    def on_all(self, command: str) -> dict[str, str]:
        """Run a command on all hosts; return their outputs by name."""
        return {name: one["stdout"] for name, one in self.document("exec", "--", command).items()}

    def wait_for_nodes(self, count: int = 3, *, seconds: float = 300) -> dict[str, Any]:
        """Wait until Ray reports a number of live nodes; return the status."""
        found: dict[str, Any] = cloud.ask_until(
            lambda: self.document("status"), lambda status: status["ray"]["alive"] == count, f"{count} nodes", seconds
        )
        return found

    def end(self) -> None:
        """Terminate the hosts, if there are any."""
        self.call("down", "--yes", code=None)
