"""Sizes and fingerprints of files and folders."""

from __future__ import annotations

import fnmatch
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from flambe_ansible.files import lock

# Files of builds, tools and editors; they are neither sent nor part of a digest.
EXCLUDED = (
    ".git", ".hg", ".svn", "__pycache__", "*.pyc", "*.egg-info", ".venv", ".tox", ".nox",
    ".mypy_cache", ".pytest_cache", ".ruff_cache", ".DS_Store",
)  # fmt: skip
EXCLUDED_AT_TOP = ("build", "dist")
UPLOAD_WARN_LIMIT_MB = 10
MB = 1024 * 1024


def digest(path: Path) -> str:
    """Compute a SHA-256 of a file, or of the names, contents and execute bits of a package folder's files."""
    total = hashlib.sha256()
    for one in [path] if path.is_file() else files(path):
        name = "" if one == path else one.relative_to(path).as_posix()
        kind = "link" if one.is_symlink() else "x" if one.stat().st_mode & 0o100 else "-"
        total.update(f"{name}\0{kind}\0".encode(errors="surrogateescape"))
        if one.is_symlink() and path.is_dir():
            total.update(str(one.readlink()).encode(errors="surrogateescape"))
        else:
            with one.open("rb") as content:
                total.update(hashlib.file_digest(content, "sha256").digest())
    return total.hexdigest()


def files(folder: Path) -> Iterator[Path]:
    """Iterate over a package's files in a fixed order, without those in ``EXCLUDED``; links are not followed."""
    for current, folders, names in os.walk(folder):
        here = Path(current)
        left_out = EXCLUDED + (EXCLUDED_AT_TOP if here == folder else ())
        links = [one for one in folders if (here / one).is_symlink()]
        folders[:] = sorted(one for one in folders if one not in links and not _matches(one, left_out))
        for name in sorted([*names, *links]):
            if not _matches(name, left_out) and ((here / name).is_file() or (here / name).is_symlink()):
                yield here / name


def size(path: Path) -> int:
    """Count the bytes of a file, or of all files in a folder."""
    if not path.is_dir():
        return path.stat().st_size
    return sum((Path(current) / name).lstat().st_size for current, _, names in os.walk(path) for name in names)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Create a folder (0700) and lock it; wait while another process holds the lock."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    with lock(folder / ".lock"):
        yield


def _matches(name: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)
