"""The network namespaces of running hosts."""

from __future__ import annotations

import ctypes
import os
import socket
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
    """Open a TCP socket in the network namespace of a process; ``OSError`` if that has ended."""
    with Path("/proc/thread-self/ns/net").open() as own, Path(f"/proc/{process}/ns/net").open() as other:
        _enter(other.fileno())
        try:
            return socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        finally:
            _enter(own.fileno())


def _enter(descriptor: int) -> None:
    """Move this thread into a network namespace."""
    if _libc.setns(descriptor, 0):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
