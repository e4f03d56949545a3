"""Atomic writes, versions of state files, and file locks. Every module that needs one uses these functions."""

from __future__ import annotations

import fcntl
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from flambe_ansible.errors import ClusterError
from flambe_ansible.version import __version__


def write_atomic(
    path: Path,
    content: str | bytes,
    *,
    mode: int = 0o600,
    owner: tuple[int, int] | None = None,
    sync: bool = False,
) -> None:
    """Replace a file in one step; after a crash it has its old content or the new one.

    Args:
        path: The file. Its folder must exist.
        content: The new content; text is written as UTF-8.
        mode: The file's permissions. They hold from the first byte on.
        owner: The user and group id of the file's owner; None leaves it to the current user.
        sync: Wait until the content is on the disk.
    """
    descriptor, draft = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")  # created with mode 0600
    try:
        with os.fdopen(descriptor, "wb") as file:
            if owner is not None:
                os.fchown(file.fileno(), *owner)
            os.fchmod(file.fileno(), mode)
            file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            if sync:
                os.fsync(file.fileno())
        Path(draft).replace(path)
    except BaseException:
        Path(draft).unlink(missing_ok=True)
        raise


def write_json(
    path: Path, document: object, *, mode: int = 0o600, owner: tuple[int, int] | None = None, sync: bool = False
) -> None:
    """Replace a file by a JSON document in one step, as ``write_atomic``."""
    write_atomic(path, json.dumps(document, indent=2) + "\n", mode=mode, owner=owner, sync=sync)


class StateVersionError(ClusterError):
    """A state file has a version that this package does not support; the file was not changed.

    Attributes:
        path: The file.
        version: Its version.
    """

    def __init__(self, path: Path, version: object, *, supported: int, remedy: str) -> None:
        super().__init__(
            f"{path} has version {version!r}, and flambe-ansible {__version__} supports version {supported}",
            hint=f"use the flambe-ansible that wrote it, or {remedy}",
        )
        self.path, self.version = path, version


def read_versioned(path: Path, *, version: int, remedy: str, unversioned: type | None = None) -> Any:
    """Read a state file, a JSON object with a ``version``; None if it does not exist.

    Every state file is read by this function before it is replaced, so that a file of a newer package is kept.

    Args:
        path: The file.
        version: The supported version.
        remedy: What to do with a file of another version, for the message.
        unversioned: The type of the document of releases that wrote no version; it is returned as it is.

    Raises:
        StateVersionError: The file has another version.
        ValueError: The file is malformed.
    """
    try:
        document: Any = json.loads(path.read_text())
    except FileNotFoundError:
        return None
    has_version = isinstance(document, dict) and "version" in document
    if not has_version and unversioned and isinstance(document, unversioned):
        return document
    if not has_version:
        raise ValueError("it has no version")
    if document["version"] != version:
        raise StateVersionError(path, document["version"], supported=version, remedy=remedy)
    return document


@contextmanager
def lock(path: Path, *, wait: bool = True, shared: bool = False) -> Iterator[int]:
    """Hold an exclusive lock on a file; it ends with this process, however that ends.

    The holder may remove the file: a process that waited for it then locks the file that is now at the path.

    Args:
        path: The lock file; it is created (0600, with its folder) if it does not exist.
        wait: Wait while another process or thread holds the lock.
        shared: Allow other shared locks at the same time.

    Yields:
        The open file's descriptor, for reading and writing.

    Raises:
        BlockingIOError: ``wait`` is False and the lock is held elsewhere.
    """
    operation = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
    descriptor = _lock(path, operation if wait else operation | fcntl.LOCK_NB)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _lock(path: Path, operation: int) -> int:
    """Open and lock the file at a path; if it was replaced or removed during the wait, do so again."""
    while True:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, operation)
            if os.fstat(descriptor).st_ino == path.stat().st_ino:
                return descriptor
        except FileNotFoundError:
            pass
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)
