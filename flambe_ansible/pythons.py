"""Other Pythons on this machine: the environment to start them with, and uv."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from pathlib import Path

FOREIGN = frozenset({"PYTHONHOME", "PYTHONPATH", "__PYVENV_LAUNCHER__"})  # set for this process's own Python


def clean_environment() -> dict[str, str]:
    """Return this process's environment without the variables that break another Python."""
    return {name: value for name, value in os.environ.items() if name not in FOREIGN}


def find_uv() -> str:
    """Return the path of a uv for Linux on x86_64 hosts; "" if this machine has none. Hosts then fetch one."""
    if sys.platform != "linux" or platform.machine() != "x86_64":
        return ""
    try:
        from uv import find_uv_bin

        return str(find_uv_bin())
    except (ImportError, FileNotFoundError):
        return shutil.which("uv") or ""


def list_script_interpreters(script: Path) -> list[str]:
    """Return the interpreters that may run a script: that of its first line, those beside it, the first on the PATH.

    flambe's own script is a shell script that calls ``python3``; those that pip writes name their interpreter.
    """
    candidates = [_read_shebang(script)]
    for folder in dict.fromkeys((script.parent, script.resolve().parent)):
        candidates += [str(folder / name) for name in ("python3", "python")]
    candidates.append(shutil.which("python3") or "")
    return [one for one in dict.fromkeys(candidates) if one and os.access(one, os.X_OK)]


def _read_shebang(script: Path) -> str:
    """Return the Python of a script's first line, or ""."""
    try:
        with script.open("rb") as file:
            line = file.readline(1024)
    except OSError:
        return ""
    words = line[2:].decode(errors="replace").split() if line.startswith(b"#!") else []
    if len(words) > 1 and Path(words[0]).name == "env":
        words = [shutil.which(words[1]) or ""]
    return words[0] if words and Path(words[0]).name.startswith(("python", "pypy")) else ""
