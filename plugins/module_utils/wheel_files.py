"""Extract single files from wheels of the package index into a folder."""

from __future__ import annotations

import hashlib
import io
import json
import os
import zipfile

from ansible_collections.flambe.cluster.plugins.module_utils import files, package_index

MARKER = ".wheels.json"


def find_stale(dest, wheels):
    """List the files that are missing, or all files if they came from other wheels.

    Args:
        dest: The folder.
        wheels: ``project``, ``filename``, ``sha256`` and ``files`` (path in the wheel -> name in the folder).
    """
    names = sorted(name for wheel in wheels for name in wheel["files"].values())
    if files.read(os.path.join(dest, MARKER)) != digest(wheels):
        return names
    return [name for name in names if not os.path.isfile(os.path.join(dest, name))]


def digest(wheels):
    """Return the digest of a set of wheels, one line."""
    return hashlib.sha256(json.dumps(wheels, sort_keys=True).encode()).hexdigest() + "\n"


def extract(dest, wheels, indexes, options):
    """Fetch the wheels and write their files.

    Args:
        dest: The folder; created if missing.
        wheels: See ``find_stale``.
        indexes: URLs of simple indexes.
        options: See ``package_index.fetch``.

    Raises:
        package_index.PackageNotFoundError: No index has a wheel, or a wheel lacks a file.
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
                        "{} does not contain {}".format(wheel["filename"], member)
                    ) from None
    files.ensure_folder(dest, 0o755)
    for name, content in found.items():
        files.write(os.path.join(dest, name), content, 0o644)
    files.write(os.path.join(dest, MARKER), digest(wheels), 0o644)
