"""Build checkouts of flambé, or of this project, into wheels."""

from __future__ import annotations

import base64
import hashlib
import importlib.util
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from packaging.utils import InvalidWheelFilename, parse_wheel_filename

from flambe_ansible import paths
from flambe_ansible.errors import SourceError
from flambe_ansible.events import Notice, Observer, ignore
from flambe_ansible.pythons import clean_environment, find_uv
from flambe_ansible.sources import content
from flambe_ansible.sources.content import locked

TIMEOUT = 900.0  # seconds for one build; it may download the build system first


@dataclass(frozen=True, kw_only=True)
class Wheel:
    """A wheel of a checkout.

    The version has the content's digest as local part (``0.4.18+content.1a2b3c4d5e6f``), so that installers replace a
    wheel of different content.
    """

    path: Path
    name: str  # the distribution's
    version: str
    digest: str  # of the checkout's content


def build_wheel(source: Path, *, cache: Path | None = None, observer: Observer = ignore) -> Wheel:
    """Build a checkout into a wheel; a cached wheel of the same content is returned without a build.

    The build runs in a copy, so that the checkout is unchanged; the observer receives a notice of it. Raises
    ``SourceError`` if the folder has no ``pyproject.toml`` or ``setup.py``, or if the build fails.
    """
    source = source.expanduser().absolute()

    def make(folder: Path) -> Path:
        observer(Notice(message=f"building a wheel of {source}: its content is new"))
        return _build(source, folder)

    if not any((source / name).is_file() for name in ("pyproject.toml", "setup.py")):
        raise SourceError(f"{source}: there is no pyproject.toml or setup.py", source=str(source))
    try:
        return find_or_make(content.digest(source), make, cache=cache)
    except OSError as error:
        raise SourceError(f"{source}: cannot be built into a wheel: {error}", source=str(source)) from error


def mark_version(wheel: Path, label: str, folder: Path) -> Path:
    """Write a copy of a wheel into a folder; ``label`` is appended to the local part of its version (PEP 440)."""
    name, version = wheel.name.split("-")[:2]
    new_version = f"{version}.{label}" if "+" in version else f"{version}+{label}"
    old_info, new_info = f"{name}-{version}.dist-info/", f"{name}-{new_version}.dist-info/"
    target = folder / wheel.name.replace(f"{name}-{version}-", f"{name}-{new_version}-", 1)
    records: list[str] = []
    with zipfile.ZipFile(wheel) as old, zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as new:
        for item in old.infolist():
            if item.filename == f"{old_info}RECORD" or item.is_dir():
                continue
            data = old.read(item)
            if item.filename == f"{old_info}METADATA":
                data = re.sub(rb"(?m)^Version: .*$", f"Version: {new_version}".encode(), data, count=1)
            for kind in ("dist-info", "data"):
                old_folder = f"{name}-{version}.{kind}/"
                if item.filename.startswith(old_folder):
                    item.filename = f"{name}-{new_version}.{kind}/{item.filename.removeprefix(old_folder)}"
            new.writestr(item, data)
            hashed = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
            records.append(f"{_quote(item.filename)},sha256={hashed},{len(data)}\n")
        new.writestr(f"{new_info}RECORD", "".join([*records, f"{new_info}RECORD,,\n"]))
    return target


def find_or_make(digest: str, make: Callable[[Path], Path], *, cache: Path | None = None) -> Wheel:
    """Return the cached wheel of this content; if there is none, make it in an empty folder and mark its version."""
    home = (cache or paths.state_root() / "cache" / "wheels") / digest[:16]
    with locked(home):
        found = next(home.glob("*.whl"), None)
        if found is None:
            with tempfile.TemporaryDirectory(dir=home, prefix="new-") as new:
                marked = mark_version(make(Path(new)), f"content.{digest[:12]}", Path(new))
                found = marked.replace(home / marked.name)
    name, version = parse_wheel_filename(found.name)[:2]
    return Wheel(path=found, name=str(name), version=str(version), digest=digest)


def _build(source: Path, folder: Path) -> Path:
    """Build a copy of the source."""
    copy, out = folder / "source", folder / "out"
    # .git is copied: build systems may read the version from it.
    left_out = shutil.ignore_patterns(*(one for one in content.EXCLUDED if one != ".git"))
    shutil.copytree(source, copy, symlinks=True, ignore=left_out)
    for name in content.EXCLUDED_AT_TOP:
        shutil.rmtree(copy / name, ignore_errors=True)
    try:
        done = subprocess.run(
            _command(copy, out),
            env=clean_environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=TIMEOUT,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise SourceError(f"{source}: building took longer than {TIMEOUT:.0f} s", source=str(source)) from error
    built = sorted(out.glob("*.whl"))
    if done.returncode or len(built) != 1:
        tail = "\n".join((done.stdout + done.stderr).strip().splitlines()[-20:])
        raise SourceError(
            f"{source}: cannot be built into a wheel:\n{tail}",
            source=str(source),
            hint=f"try: pip wheel --no-deps {source}",
        )
    try:
        parse_wheel_filename(built[0].name)
    except InvalidWheelFilename as error:
        raise SourceError(
            f"{source}: the build made a file that is not a wheel: {built[0].name}", source=str(source)
        ) from error
    return built[0]


def _command(copy: Path, out: Path) -> list[str]:
    """Return the build command: pip, which reads the user's index from pip.conf, or else uv."""
    if importlib.util.find_spec("pip"):
        return [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(out), str(copy)]
    uv = find_uv() or shutil.which("uv")
    if not uv:
        raise SourceError("building a wheel needs pip or uv; neither is installed", source=str(copy), hint="install uv")
    return [uv, "build", "--quiet", "--wheel", "--python", sys.executable, "--out-dir", str(out), str(copy)]


def _quote(name: str) -> str:
    """Quote a file's name for RECORD, which is CSV."""
    return f'"{name}"' if "," in name else name
