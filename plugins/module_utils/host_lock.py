"""A lock of one host, so that two modules of the same kind never work at the same time."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time

from ansible_collections.flambe.cluster.plugins.module_utils import progress, session

NAME = "lock"  # of the file below a runtime's root
WAIT_SECONDS = 600
_PAUSE = 0.5


class LockedError(Exception):
    """An earlier module holds the lock for too long."""


@contextlib.contextmanager
def hold(path, work, seconds=WAIT_SECONDS):
    """Hold a lock file for a block; wait until an earlier module, whose session has ended, releases it.

    Raises LockedError after ``seconds``; its message has ``work``, such as ``installation in /opt/flambe``.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        _take(descriptor, work, seconds)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, str(os.getpid()).encode(), 0)
        yield
    finally:
        os.close(descriptor)


def _take(descriptor, work, seconds):
    deadline = time.monotonic() + seconds
    while True:
        try:
            return fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            session.check()
            progress.report(f"waiting for the end of an earlier {work}")
            if time.monotonic() > deadline:
                owner = os.pread(descriptor, 20, 0).decode("ascii", "replace")
                text = f"an earlier {work} (process {owner}) still runs on this host after {seconds:g} s"
                raise LockedError(text) from None
            time.sleep(_PAUSE)
