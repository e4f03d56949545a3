"""One launch of a cluster at a time: a lock file in the cluster's state folder."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from flambe_ansible import files
from flambe_ansible.errors import ClusterBusyError

LOCK_FILE = "lock"
_PATIENCE = 1.0  # seconds; ``is_held`` takes the lock for a moment


@contextmanager
def hold(state_dir: Path) -> Iterator[None]:
    """Hold the cluster's lock; it ends with the process."""
    with ExitStack() as stack:
        descriptor = _take(stack, state_dir / LOCK_FILE)
        os.ftruncate(descriptor, 0)
        os.write(descriptor, str(os.getpid()).encode())
        yield


def is_held(state_dir: Path) -> bool:
    """Return whether a process holds the cluster's lock."""
    try:
        with files.lock(state_dir / LOCK_FILE, wait=False, shared=True):
            return False
    except BlockingIOError:
        return True


def _take(stack: ExitStack, path: Path) -> int:
    deadline = time.monotonic() + _PATIENCE
    while True:
        try:
            return stack.enter_context(files.lock(path, wait=False))
        except BlockingIOError as error:
            if time.monotonic() < deadline:
                time.sleep(0.05)
                continue
            owner = path.read_text(errors="replace").strip() or "unknown"
            raise ClusterBusyError(
                f"another launch or termination of this cluster is running (process {owner})",
                hint="wait until it has ended, then run this again",
            ) from error
