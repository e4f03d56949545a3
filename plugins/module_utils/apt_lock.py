"""The locks of apt and dpkg: find out who holds one, and wait for it."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import struct
import time

from ansible_collections.flambe.cluster.plugins.module_utils import session

LOCKS = (
    "/var/lib/dpkg/lock-frontend",
    "/var/lib/dpkg/lock",
    "/var/lib/apt/lists/lock",
    "/var/cache/apt/archives/lock",
)
WAIT_SECONDS = 600
_FLOCK = "hhqqi"  # struct flock: l_type, l_whence, l_start, l_len, l_pid
_USES_APT = re.compile(r"\b(apt|apt-get|aptitude|add-apt-repository|dpkg)\b")
_REFUSED = re.compile(
    r"Could not get lock|Unable to lock directory|Unable to acquire the dpkg frontend lock"
    r"|dpkg frontend lock was locked by another process"
)


def uses_apt(command):
    """Return whether a shell command mentions apt or dpkg."""
    return bool(_USES_APT.search(command))


def is_refused(output):
    """Return whether a command's output ends with a message about these locks."""
    return bool(_REFUSED.search("\n".join(output.rstrip().splitlines()[-5:])))


def holder(paths=LOCKS):
    """Return (path, process id) of a lock that is held; None if all are free, or not readable for this user."""
    for path in paths:
        with contextlib.suppress(OSError):
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                wanted = struct.pack(_FLOCK, fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
                kind, *_range, pid = struct.unpack(_FLOCK, fcntl.fcntl(descriptor, fcntl.F_GETLK, wanted))
            finally:
                os.close(descriptor)
            if kind != fcntl.F_UNLCK:
                return path, pid
    return None


def wait(deadline, paths=LOCKS):
    """Wait until the locks are free, or until a deadline of ``time.monotonic``."""
    while holder(paths) and time.monotonic() < deadline:
        session.check()
        time.sleep(1)
