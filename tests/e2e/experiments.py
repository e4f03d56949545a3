"""The cluster for the tests of submit: its configuration, and commands on it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from flambe_ansible.lab import LabInfo
from tests.e2e import cloud
from tests.e2e.commands import Commands

NAME = "e2e_submit"
PLANTED = "pl4nted-s3cret-%-value"
SURVEY_KEY = "planted-30%-key"
KEY = "not-so-secret-as-it-comes-with-the-example"


class Cluster(Commands):
    """A configuration, and commands on it."""

    def __init__(self, folder: Path, lab: LabInfo) -> None:
        super().__init__(folder)
        self.file.write_text(f"!LabCluster\nname: {NAME}\nlab: {lab.name}\nfactories_num: 2\n")
        self.secrets = folder / "secrets.ini"
        sections = f"[TOPICS]\nsigning_key = {KEY}\n[OTHER]\ntoken = {PLANTED}\n[SURVEY]\nKEY = {SURVEY_KEY}\n"
        self.secrets.write_text(sections)

    def call(self, *arguments: Any, code: int | None = 0) -> str:
        """Run a command and return its output."""
        done = self.execute(*arguments, code=code)
        return done.stdout if done.returncode == 0 or "--json" in arguments else done.stdout + done.stderr

    def submit(self, file: Path, *arguments: str, code: int = 0) -> Any:
        """Submit, and return the document."""
        argv = ["submit", file, "--cluster", self.file, "--secrets", self.secrets, "--yes", *arguments]
        return json.loads(self.call(*argv, "--json", code=code))

    def status(self) -> dict[str, Any]:
        document: dict[str, Any] = json.loads(self.call("status", self.file, "--json"))
        return document

    def await_run(self, condition: Callable[[dict[str, Any]], bool], *, seconds: float = 600) -> dict[str, Any]:
        """Wait until the run meets a condition."""
        found: dict[str, Any] = cloud.ask_until(
            lambda: self.status()["run"], condition, "the run's condition", seconds, pause=4
        )
        return found

    def on(self, command: str, *host: str) -> str:
        """Run a command on a host, the orchestrator by default."""
        return self.call("ssh", self.file, *host, "--", command, code=None)

    def end(self) -> None:
        """Terminate the hosts, if there are any."""
        self.call("down", self.file, "--yes", code=None)
