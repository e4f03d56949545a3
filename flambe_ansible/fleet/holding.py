"""The program that holds or shows the reservation of a cluster; it runs on the orchestrator, with Python 3.8 or later.

``fleet/reservation.py`` sends the text of this file over a connection, with a call of one of the functions.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import select
import time
from collections.abc import Sequence
from pathlib import Path

TYPE_CHECKING = False  # importing typing would delay the answer
if TYPE_CHECKING:
    from typing import Any

MARK = "flambe-reservation "
FILE = "flambe-cluster.lock"
FOLDERS = ("/run/lock", "/tmp")  # noqa: S108 - every user of the orchestrator can write to them
PATIENCE = 2.0  # seconds; ``show`` locks the file for a moment


def hold(holder: dict[str, str], silence: float, folders: Sequence[str] = FOLDERS) -> None:
    """Take the reservation, print the answer, and hold it until standard input ends.

    Args:
        holder: ``who`` and ``what``; the time and the client's address are added.
        silence: Seconds without input after which the client counts as lost.
        folders: Possible folders of the lock file.
    """
    descriptor = _take(_find(folders))
    if descriptor < 0:
        _answer({"held": False, "holder": show(folders, answer=False)})
        return
    since = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    origin = os.environ.get("SSH_CONNECTION", "").partition(" ")[0]
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, json.dumps({**holder, "since": since, "from": origin}).encode(), 0)
    _answer({"held": True})
    while select.select([0], [], [], silence)[0] and os.read(0, 4096):
        pass
    os.ftruncate(descriptor, 0)


def show(folders: Sequence[str] = FOLDERS, answer: bool = True) -> dict[str, Any] | None:
    """Return the holder and print it; None if the cluster is not reserved."""
    holder = None
    with contextlib.suppress(FileNotFoundError):
        descriptor = os.open(_find(folders), os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = _read(descriptor)
        os.close(descriptor)
    if answer:
        _answer({"holder": holder})
    return holder


def _find(folders: Sequence[str]) -> Path:
    """Return the path of the lock file, the same for all users: in the first folder that every user can write to."""
    paths = [Path(folder) for folder in folders]
    usable = [path for path in paths if path.is_dir() and path.stat().st_mode & 0o1002 == 0o1002]
    return (usable or paths)[0] / FILE


def _take(path: Path) -> int:
    """Lock the file; return its descriptor, or -1 if another process holds it."""
    deadline = time.monotonic() + PATIENCE
    while True:
        descriptor = _open(path)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if path.exists() and path.stat().st_ino == os.fstat(descriptor).st_ino:
                return descriptor
        except BlockingIOError:
            if time.monotonic() > deadline:
                os.close(descriptor)
                return -1
            time.sleep(0.1)
        os.close(descriptor)


def _open(path: Path) -> int:
    """Open the file; create it for all users. In such folders, O_CREAT may fail for a file of another user."""
    while True:
        with contextlib.suppress(FileNotFoundError):
            return os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
        with contextlib.suppress(FileExistsError):
            os.umask(0)
            return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)


def _read(descriptor: int) -> dict[str, Any]:
    """Read the holder; {} if it has not written its name yet."""
    try:
        document = json.loads(os.pread(descriptor, 65536, 0))
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}


def _answer(document: dict[str, Any]) -> None:
    print(MARK + json.dumps(document), flush=True)
