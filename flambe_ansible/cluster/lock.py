"""One launch of a cluster at a time: a lock file in the cluster's state folder, held by the kernel.

The lock ends with the process that holds it, however that ends.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from flambe_ansible.errors import ClusterError

LOCK_FILE = "lock"


@contextmanager
def hold(state_dir: Path) -> Iterator[None]:
    """Hold the cluster's lock.

    Raises:
        ClusterError: Another process holds it; its number is named.
    """
    descriptor = os.open(state_dir / LOCK_FILE, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            owner = os.read(descriptor, 32).decode(errors="replace").strip() or "unknown"
            raise ClusterError(
                f"another launch or termination of this cluster is under way (process {owner})",
                hint="wait for it to end, then run this again",
            ) from error
        os.ftruncate(descriptor, 0)
        os.write(descriptor, str(os.getpid()).encode())
        yield
    finally:
        os.close(descriptor)


def is_held(state_dir: Path) -> bool:
    """Tell whether some process holds the cluster's lock."""
    try:
        with hold(state_dir):
            return False
    except ClusterError:
        return True
