"""A build of Python that uv can download: the interpreter of the tests, packed as python-build-standalone does."""

from __future__ import annotations

import hashlib
import json
import platform
import sys
import sysconfig
import tarfile
from io import BytesIO
from pathlib import Path

VERSION = platform.python_version()
_MINOR = ".".join(VERSION.split(".")[:2])
_LEFT_OUT = {"site-packages", "test", "tests", "idlelib", "lib2to3", "tkinter", "ensurepip", "__pycache__"}


def write_build(folder: Path, url: str) -> None:
    """Write the archive, and the list for uv: ``downloads.json``, in which the archive is at a URL of this folder."""
    archive = folder / f"cpython-{VERSION}.tar.gz"
    with tarfile.open(archive, "w:gz", compresslevel=1) as packed:
        _add_executable(packed)
        library = sysconfig.get_config_var("INSTSONAME")
        if sysconfig.get_config_var("Py_ENABLE_SHARED"):
            packed.add(Path(sysconfig.get_config_var("LIBDIR"), library), f"python/lib/{library}")
        packed.add(sysconfig.get_path("stdlib"), f"python/lib/python{_MINOR}", filter=_filter)
    machine = platform.machine()
    major, minor, patch = map(int, VERSION.split("."))
    entry = {
        "name": "cpython",
        "arch": {"family": machine, "variant": None},
        "os": "linux",
        "libc": "gnu",
        "major": major,
        "minor": minor,
        "patch": patch,
        "prerelease": "",
        "url": f"{url}/{archive.name}",
        "sha256": hashlib.sha256(archive.read_bytes()).hexdigest(),
        "variant": None,
        "build": None,
    }
    (folder / "downloads.json").write_text(json.dumps({f"cpython-{VERSION}-linux-{machine}-gnu": entry}))


def _add_executable(packed: tarfile.TarFile) -> None:
    """Add the executable; it searches its shared library beside it instead of in the folder of this machine."""
    data = Path(sys.base_prefix, "bin", f"python{_MINOR}").resolve().read_bytes()
    ours, relative = sysconfig.get_config_var("LIBDIR").encode() + b"\0", b"$ORIGIN/../lib"
    data = data.replace(ours, relative.ljust(len(ours), b"\0")) if len(relative) < len(ours) else data
    file = tarfile.TarInfo(f"python/bin/python{_MINOR}")
    file.size, file.mode = len(data), 0o755
    packed.addfile(file, BytesIO(data))
    for name in ("python", "python3"):
        link = tarfile.TarInfo(f"python/bin/{name}")
        link.type, link.linkname = tarfile.SYMTYPE, f"python{_MINOR}"
        packed.addfile(link)


def _filter(info: tarfile.TarInfo) -> tarfile.TarInfo | None:
    name = Path(info.name).name
    return None if name in _LEFT_OUT or name.startswith(f"config-{_MINOR}") else info
