"""Single files out of wheels of the package index, in a folder of this host."""

from __future__ import annotations

import hashlib
import io
import json
import os
import zipfile

from ansible_collections.flambe.cluster.plugins.module_utils import files, package_index

MARKER = ".wheels.json"


def find_stale(dest, wheels):
    """List the files that are missing, or all of them where they came from other wheels.

    Args:
        dest: The folder.
        wheels: ``project``, ``filename``, ``sha256`` and ``files``, the names in the folder by those in the wheel.
    """
    names = sorted(name for wheel in wheels for name in wheel["files"].values())
    if files.read(os.path.join(dest, MARKER)) != write_marker(wheels):
        return names
    return [name for name in names if not os.path.isfile(os.path.join(dest, name))]


def write_marker(wheels):
    """Write what tells one set of wheels from another."""
    return hashlib.sha256(json.dumps(wheels, sort_keys=True).encode()).hexdigest() + "\n"


def bring(dest, wheels, indexes, options):
    """Fetch the wheels and put their files in place.

    Args:
        dest: The folder; it is made where it is not there.
        wheels: As for ``find_stale``.
        indexes: URLs of simple indexes.
        options: As for ``package_index.fetch``.

    Raises:
        package_index.PackageNotFoundError: No index has a wheel, or it does not hold a file.
    """
    found = {}
    for wheel in wheels:
        content = package_index.fetch(indexes, wheel["project"], wheel["filename"], wheel["sha256"], options)
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            for member, name in wheel["files"].items():
                try:
                    found[name] = archive.read(member)
                except KeyError:
                    raise package_index.PackageNotFoundError(
                        "{} holds no {}".format(wheel["filename"], member)
                    ) from None
    files.ensure_folder(dest, 0o755)
    for name, content in found.items():
        files.write(os.path.join(dest, name), content.decode("utf-8", "surrogateescape"), 0o644)
    files.write(os.path.join(dest, MARKER), write_marker(wheels), 0o644)
