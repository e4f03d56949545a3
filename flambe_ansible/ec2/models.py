"""Read botocore's descriptions of AWS's services faster than botocore does; the clients are the same."""

from __future__ import annotations

import contextlib
import hashlib
import json
import marshal
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

from botocore.loaders import JSONFileLoader, Loader

from flambe_ansible.files import write_atomic
from flambe_ansible.paths import state_root

_FOLDER = "descriptions"
_FORMAT = 1  # of the files in it
_LARGE = 100_000  # bytes of a file that is kept in a form that is read faster
_KEPT = 8  # files: two descriptions for each of some environments


def make_loader(data_path: str | None = None) -> Loader:
    """Make a loader of descriptions for a botocore session, its component ``data_loader``.

    botocore parses each description into ``OrderedDict``, which takes twice as long as plain dictionaries, and it looks
    into the folders of all services to find one. EC2's description has 4 MB: that is most of the time of a command's
    first call. Therefore large descriptions are kept in the state folder, without their texts for people, as Python
    keeps byte code: a file for each release of botocore and Python. ``data_path`` is botocore's setting of that name:
    more folders.
    """
    folders = [os.path.expandvars(Path(one).expanduser()) for one in (data_path or "").split(os.pathsep) if one]
    return _Loader(extra_search_paths=folders, file_loader=_FileLoader())


class _FileLoader(JSONFileLoader):
    def _load_file(self, full_path: str, open_method: Callable[..., IO[bytes]]) -> Any:
        path = Path(full_path)
        if not path.is_file():
            return None
        kept = _find_kept(path)
        if kept is not None:
            with contextlib.suppress(OSError, ValueError, EOFError, TypeError):
                return marshal.loads(kept.read_bytes())  # noqa: S302 - from this user's own state folder
        with open_method(full_path, "rb") as file:
            document = json.load(file)
        if kept is not None:
            document = _without_texts(document)
            _keep(kept, document)
        return document


def _find_kept(path: Path) -> Path | None:
    """Return where a large description is kept, or will be; None for a small one."""
    found = path.stat()
    if found.st_size < _LARGE:
        return None
    python = f"{sys.implementation.cache_tag} {marshal.version}"
    identity = f"{_FORMAT} {python} {path.resolve()} {found.st_mtime_ns} {found.st_size}"
    return state_root() / _FOLDER / hashlib.sha256(identity.encode()).hexdigest()[:16]


def _keep(path: Path, document: Any) -> None:
    """Write a description; a failure is ignored. The oldest ones are removed."""
    with contextlib.suppress(OSError):
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_atomic(path, marshal.dumps(document))
        for _, old in sorted(((one.stat().st_mtime, one) for one in path.parent.iterdir()), reverse=True)[_KEPT:]:
            old.unlink(missing_ok=True)


def _without_texts(value: Any) -> Any:
    """Return a description with empty documentation, which is the larger part of it; botocore needs the names."""
    if isinstance(value, dict):
        return {
            name: "" if name == "documentation" and isinstance(one, str) else _without_texts(one)
            for name, one in value.items()
        }
    return [_without_texts(one) for one in value] if isinstance(value, list) else value


class _Loader(Loader):
    def list_available_services(self, type_name: str) -> list[str]:
        """List the folders of services, without a look into each of them."""
        del type_name
        return [name for path in self.search_paths if Path(path).is_dir() for name in os.listdir(path)]  # noqa: PTH208 - names
