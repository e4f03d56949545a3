"""The command ``flambe-ans`` as a user starts it: a process with a state folder and a home folder of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

PROGRAM = str(Path(sys.executable).with_name("flambe-ans"))


class Commands:
    """A folder with the file of a cluster, and commands that are started there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.file = folder / "cluster.yaml"
        self.environment = {**os.environ, "FLAMBE_ANS_STATE": str(folder / "state"), "HOME": str(folder)}

    def start(self, *arguments: Any, **options: Any) -> subprocess.Popen[str]:
        """Start a command without input; its outputs are pipes unless ``options`` of Popen change them."""
        pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        settings = {"cwd": self.folder, "env": self.environment, "text": True, **pipes, **options}
        return subprocess.Popen([PROGRAM, *map(str, arguments)], **settings)

    def execute(self, *arguments: Any, code: int | None = 0, **options: Any) -> subprocess.CompletedProcess[str]:
        """Run a command, and check its exit code unless that is None."""
        with self.start(*arguments, **options) as process:
            stdout, stderr = process.communicate()
        assert code is None or process.returncode == code, f"{stdout}{stderr}"
        return subprocess.CompletedProcess(process.args, process.returncode, stdout, stderr)


__all__ = ["PROGRAM", "Commands"]
