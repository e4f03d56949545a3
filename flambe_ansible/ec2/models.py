"""Read botocore's descriptions of AWS's services faster than botocore does; the clients are the same."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

from botocore.loaders import JSONFileLoader, Loader


def make_loader(data_path: str | None = None) -> Loader:
    """Make a loader of descriptions for a botocore session, its component ``data_loader``.

    botocore parses each description into ``OrderedDict``, which takes twice as long as plain dictionaries, and it looks
    into the folders of all services to find one. EC2's description has 4 MB: that is most of the time of a command's
    first call. ``data_path`` is botocore's setting of that name: more folders.
    """
    folders = [os.path.expandvars(Path(one).expanduser()) for one in (data_path or "").split(os.pathsep) if one]
    return _Loader(extra_search_paths=folders, file_loader=_FileLoader())


class _FileLoader(JSONFileLoader):
    def _load_file(self, full_path: str, open_method: Callable[..., IO[bytes]]) -> Any:
        if not Path(full_path).is_file():
            return None
        with open_method(full_path, "rb") as file:
            return json.load(file)


class _Loader(Loader):
    def list_available_services(self, type_name: str) -> list[str]:
        """List the folders of services, without a look into each of them."""
        del type_name
        return [name for path in self.search_paths if Path(path).is_dir() for name in os.listdir(path)]  # noqa: PTH208 - names
