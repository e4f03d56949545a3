"""Rebuild the wheel of an installed distribution from its files."""

from __future__ import annotations

import hashlib
import zipfile
from importlib import metadata
from pathlib import Path

from flambe_ansible.errors import SourceError
from flambe_ansible.sources.checkout import Wheel, find_or_make

# Files of a .dist-info folder that an installer writes.
_OF_INSTALLERS = ("INSTALLER", "RECORD", "REQUESTED", "direct_url.json", "uv_build.json", "uv_cache.json")


def rebuild_wheel(name: str, *, cache: Path | None = None) -> Wheel:
    """Rebuild the wheel of a pure Python distribution that is installed here; no package index is used.

    The version has the content's digest as local part, as in ``build_wheel``. Raises ``SourceError`` if the
    distribution is not installed, or was installed without a list of its files.
    """
    try:
        distribution = metadata.distribution(name)
    except metadata.PackageNotFoundError as error:
        raise SourceError(f"{name} is not installed on this machine", source=name) from error
    files = _read_files(distribution)
    info = next((one.removesuffix("/WHEEL") for one in files if one.endswith(".dist-info/WHEEL")), "")
    if not info:
        raise SourceError(
            f"{name}: the installed files are not listed, so that its wheel cannot be rebuilt",
            source=name,
            hint=f"install {name} again with pip",
        )
    tag = next(
        line.partition(":")[2].strip()
        for line in files[f"{info}/WHEEL"].decode().splitlines()
        if line.startswith("Tag:")
    )

    def make(folder: Path) -> Path:
        wheel = folder / f"{info.removesuffix('.dist-info')}-{tag}.whl"
        with zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED) as archive:
            for path, data in sorted(files.items()):
                archive.writestr(path, data)
        return wheel

    return find_or_make(_digest(files), make, cache=cache)


def _read_files(distribution: metadata.Distribution) -> dict[str, bytes]:
    """Return the contents of a wheel's files by their path; scripts and compiled files are created by installers."""
    files = {}
    for one in distribution.files or ():
        outside = one.is_absolute() or ".." in one.parts
        installers = one.parent.name.endswith(".dist-info") and one.name in _OF_INSTALLERS
        if not (outside or installers or one.suffix == ".pyc"):
            files[one.as_posix()] = Path(str(one.locate())).read_bytes()
    return files


def _digest(files: dict[str, bytes]) -> str:
    total = hashlib.sha256()
    for path, data in sorted(files.items()):
        total.update(f"{path}\0{len(data)}\0".encode() + data)
    return total.hexdigest()
