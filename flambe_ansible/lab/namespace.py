"""The network namespaces of running hosts."""

from __future__ import annotations

import ctypes
import os
import socket
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from flambe_ansible.lab import disk
from flambe_ansible.lab.state import Settings

PROCESS_FILE = "supervisor.pid"  # written by supervisor.sh once it is in the host's namespace

_libc = ctypes.CDLL(None, use_errno=True)


def find(settings: Settings, host: str) -> int | None:
    """Find the process that supervises a running host, which is in the host's network namespace."""
    folder = disk.folder(settings, host)
    with suppress(OSError, ValueError):
        process = int((folder / PROCESS_FILE).read_text())
        words = Path(f"/proc/{process}/cmdline").read_bytes().split(b"\0")
        if str(folder).encode() in words:  # not another process that has its number by now
            return process
    return None


def open_socket(process: int) -> socket.socket:
    """Open a TCP socket in the network namespace of a process; ``OSError`` if that has ended.

    A thread of its own enters the namespace: /proc/PID/ns/net is that of the main thread, and the supervisors of new
    hosts enter it to create their links on the machine.
    """
    with ThreadPoolExecutor(max_workers=1) as thread:
        return thread.submit(_open_inside, process).result()


def _open_inside(process: int) -> socket.socket:
    """Move this thread into the network namespace of a process, and open a TCP socket there."""
    with Path(f"/proc/{process}/ns/net").open() as other:
        if _libc.setns(other.fileno(), 0):
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
    return socket.socket(socket.AF_INET, socket.SOCK_STREAM)
