"""A process that ends a playbook whose owner was killed; it runs as a script, with the standard library alone.

ansible-playbook ignores SIGHUP under ansible-runner, and its workers are in their own sessions: without this, a launch
that was killed goes on with all its roles.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys

DONE = b"done"


def main() -> None:
    """Wait until the owner ends; unless it has written ``DONE``, kill the processes that have its folder in their argv.

    The one argument is the private folder of the playbook; it is removed, too.
    """
    folder = sys.argv[1]
    if sys.stdin.buffer.read() == DONE:
        return
    for pid in find(folder):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGKILL)
    shutil.rmtree(folder, ignore_errors=True)


def find(folder: str) -> list[int]:
    """List the processes that have a folder in their argv, and all below them, with ps, which Linux and macOS have."""
    found = [pid for pid, (_, line) in _list_processes().items() if folder in line and pid != os.getpid()]
    return list(dict.fromkeys(one for pid in found for one in (pid, *descendants(pid))))


def descendants(pid: int) -> list[int]:
    """List all processes below one."""
    children: dict[int, list[int]] = {}
    for child, (parent, _) in _list_processes().items():
        children.setdefault(parent, []).append(child)
    found = list(children.get(pid, ()))
    for child in found:
        found.extend(children.get(child, ()))
    return found


def _list_processes() -> dict[int, tuple[int, str]]:
    """Return the parent and the command line of every process; nothing without ps."""
    if not shutil.which("ps"):
        return {}
    argv = ["ps", "-A", "-ww", "-o", "pid=,ppid=,args="]
    listing = subprocess.run(argv, capture_output=True, text=True, errors="replace", check=False).stdout
    rows = [(*line.split(None, 2), "") for line in listing.split("\n")]
    return {int(row[0]): (int(row[1]), row[2]) for row in rows if row[0].isdigit() and row[1].isdigit()}


if __name__ == "__main__":
    main()
