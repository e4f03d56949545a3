"""Other Pythons on this machine: the environment to start them with, and uv."""

from __future__ import annotations

import os
import platform
import shutil
import sys

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
