"""The working folder of a job on this machine: which of its files are sent."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from flambe_ansible.errors import ClusterConfigurationError
from flambe_ansible.sources.content import EXCLUDED

if TYPE_CHECKING:
    from pathspec import GitIgnoreSpec

IGNORE_FILES = (".gitignore", ".rayignore")
LARGE = 100 * 1024 * 1024  # bytes; above, the size is announced
TOO_LARGE = 2 * 1024**3  # bytes; above, the user must agree
_LARGEST = 3  # files that are named
# Beside EXCLUDED; an environment of this machine does not work on another one.
_CACHES = (".ipynb_checkpoints", ".cache", ".eggs")
_ENVIRONMENT_FILE = "pyvenv.cfg"


@dataclass(frozen=True, kw_only=True)
class WorkingFolder:
    """What is sent of a folder.

    Attributes:
        path: The folder, absolute.
        names: Relative paths of files and folders, each folder before its content.
        size: The bytes of all files.
        largest: The largest files and their sizes in bytes, the largest first.
    """

    path: Path
    names: tuple[str, ...]
    size: int
    largest: tuple[tuple[str, int], ...]

    def describe(self) -> str:
        """Describe its size, and name the largest files."""
        named = ", ".join(f"{name} ({format_size(size)})" for name, size in self.largest)
        return f"{self.path} has {format_size(self.size)} to send; the largest files are {named}"

    def check_size(self) -> None:
        """Raise ``ClusterConfigurationError`` if it is too large to be sent without the user's consent."""
        if self.size > TOO_LARGE:
            limit = format_size(TOO_LARGE)
            raise ClusterConfigurationError(
                f"{self.describe()}; more than {limit} are sent only with --allow-large",
                hint=f"list what the job does not need in {self.path}/.rayignore, or add --allow-large",
            )


def scan(folder: str | Path) -> WorkingFolder:
    """List the files of a working folder.

    Left out are: what ``.gitignore`` and ``.rayignore`` files in it exclude, version control, caches, and virtual
    environments.

    Raises:
        ClusterConfigurationError: It does not exist, or is not a folder.
    """
    path = Path(folder).expanduser().absolute()
    if not path.is_dir():
        what = "is not a folder" if path.exists() else "does not exist"
        raise ClusterConfigurationError(f"the working folder {path} {what}")
    names, sizes = [], {}
    for name, size in _walk(path, "", [], frozenset()):
        names.append(name)
        sizes[name] = size
    largest = sorted(sizes.items(), key=lambda one: -one[1])[:_LARGEST]
    return WorkingFolder(path=path, names=tuple(names), size=sum(sizes.values()), largest=tuple(largest))


def format_size(size: int) -> str:
    """Write a number of bytes in MB or GB."""
    return f"{size / 1024**3:.1f} GB" if size >= 1024**3 else f"{size / 1024**2:.1f} MB"


_Rules = list[tuple[str, "GitIgnoreSpec"]]  # the folder of an ignore file, and its patterns; the outermost first


def _walk(root: Path, folder: str, rules: _Rules, above: frozenset[str]) -> Iterator[tuple[str, int]]:
    """Iterate over the relative paths below a folder and their sizes; a link out of the root is followed."""
    here = root / folder
    real = os.path.realpath(here)
    if real in above:  # a link that leads back
        return
    own = _read_rules(here)
    rules = [*rules, (folder, own)] if own else rules
    with os.scandir(here) as entries:
        found = sorted(entries, key=lambda entry: entry.name)
    for entry in found:
        name = f"{folder}{entry.name}"
        follow = entry.is_symlink() and not _is_inside(root, entry.path)
        is_folder = entry.is_dir(follow_symlinks=follow)
        if _is_left_out(entry, is_folder=is_folder) or _is_ignored(f"{name}/" if is_folder else name, rules):
            continue
        if is_folder:
            yield name, 0
            yield from _walk(root, f"{name}/", rules, above | {real})
        elif entry.is_file(follow_symlinks=follow) or entry.is_symlink():
            is_link = entry.is_symlink() and not follow
            yield name, 0 if is_link else entry.stat().st_size


def _read_rules(folder: Path) -> GitIgnoreSpec | None:
    """Read the ignore files of one folder."""
    from pathspec import GitIgnoreSpec  # slow, and only submissions need it

    lines: list[str] = []
    for name in IGNORE_FILES:
        path = folder / name
        if path.is_file():
            lines += path.read_text(encoding="utf-8", errors="replace").splitlines()
    return GitIgnoreSpec.from_lines(lines) if lines else None


def _is_ignored(name: str, rules: _Rules) -> bool:
    """Return whether ignore files exclude a path; those of inner folders and later lines prevail."""
    for folder, spec in reversed(rules):
        verdict = spec.check_file(name.removeprefix(folder)).include
        if verdict is not None:
            return verdict
    return False


def _is_left_out(entry: os.DirEntry[str], *, is_folder: bool) -> bool:
    name = Path(entry.name)
    if any(name.match(pattern) for pattern in (*EXCLUDED, *_CACHES)):
        return True
    return is_folder and (Path(entry.path) / _ENVIRONMENT_FILE).is_file()


def _is_inside(root: Path, path: str) -> bool:
    """Return whether a link leads to something in the folder, or to nothing."""
    target = os.path.realpath(path)
    return not Path(target).exists() or target.startswith(f"{os.path.realpath(root)}/")
