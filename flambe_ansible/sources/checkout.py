"""Packages built here into wheels: a flambé checkout, or this project's own."""

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
from dataclasses import dataclass
from pathlib import Path

from packaging.utils import InvalidWheelFilename, parse_wheel_filename

from flambe_ansible import paths
from flambe_ansible.errors import SourceError
from flambe_ansible.events import Notice, Observer, ignore
from flambe_ansible.pythons import clean_environment, find_uv
from flambe_ansible.sources import content
from flambe_ansible.sources.content import locked

TIMEOUT = 900.0  # seconds for one build; it may fetch the build system first


@dataclass(frozen=True, kw_only=True)
class Wheel:
    """A wheel of a checkout.

    Attributes:
        path: The file.
        name: The distribution's name.
        version: Its version, with the content's fingerprint as local part: ``0.4.18+content.1a2b3c4d5e6f``. Other
            content is another version, so that an installer notices.
        digest: The checkout's fingerprint.
    """

    path: Path
    name: str
    version: str
    digest: str


def build_wheel(source: Path, *, cache: Path | None = None, observer: Observer = ignore) -> Wheel:
    """Build a checkout into a wheel, as it is; one that was built before from the same content is returned again.

    The build takes place in a copy: nothing is left behind in the checkout.

    Args:
        source: A folder with a ``pyproject.toml`` or a ``setup.py``.
        cache: Where wheels are kept; the user's own cache if None.
        observer: Hears that something is built, which takes some seconds.

    Raises:
        SourceError: It is no such folder, or cannot be built.
    """
    source = source.expanduser().absolute()
    if not any((source / name).is_file() for name in ("pyproject.toml", "setup.py")):
        raise SourceError(f"{source}: no pyproject.toml or setup.py there", source=str(source))
    try:
        digest = content.digest(source)
        found = _find_or_build(source, digest, cache or paths.state_root() / "cache" / "wheels", observer)
    except OSError as error:
        raise SourceError(f"{source}: cannot be built into a wheel: {error}", source=str(source)) from error
    name, version = parse_wheel_filename(found.name)[:2]
    return Wheel(path=found, name=str(name), version=str(version), digest=digest)


def mark_version(wheel: Path, label: str, folder: Path) -> Path:
    """Write a wheel again under a version with a local part.

    Args:
        wheel: The wheel; stays as it is.
        label: The local part, letters, digits and dots (PEP 440); one that is there already stays before it.
        folder: Where the new wheel goes.

    Returns:
        The new wheel.
    """
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
            for old_folder, new_folder in (
                (old_info, new_info),
                (f"{name}-{version}.data/", f"{name}-{new_version}.data/"),
            ):
                if item.filename.startswith(old_folder):
                    item.filename = new_folder + item.filename.removeprefix(old_folder)
            new.writestr(item, data)
            hashed = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
            records.append(f"{_quote(item.filename)},sha256={hashed},{len(data)}\n")
        new.writestr(f"{new_info}RECORD", "".join([*records, f"{new_info}RECORD,,\n"]))
    return target


def _find_or_build(source: Path, digest: str, cache: Path, observer: Observer) -> Path:
    """Return the wheel of this content, made now where it was not made before."""
    home = cache / digest[:16]
    with locked(home):
        found = next(home.glob("*.whl"), None)
        if found:
            return found
        observer(Notice(message=f"building {source}, as its content is new"))
        with tempfile.TemporaryDirectory(dir=home, prefix="new-") as new:
            marked = mark_version(_build(source, Path(new)), f"content.{digest[:12]}", Path(new))
            return marked.replace(home / marked.name)


def _build(source: Path, folder: Path) -> Path:
    """Build a copy of the source with uv, or pip where there is no uv."""
    copy, out = folder / "source", folder / "out"
    # .git comes along: versions may be taken from it.
    left_out = shutil.ignore_patterns(*(one for one in content.EXCLUDED if one != ".git"))
    shutil.copytree(source, copy, symlinks=True, ignore=left_out)
    for name in content.EXCLUDED_AT_TOP:
        shutil.rmtree(copy / name, ignore_errors=True)
    environment = clean_environment()
    try:
        done = subprocess.run(
            _command(copy, out),
            env=environment,
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
        raise SourceError(f"{source}: built a file that is no wheel: {built[0].name}", source=str(source)) from error
    return built[0]


def _command(copy: Path, out: Path) -> list[str]:
    """Choose what builds: pip knows the user's package index from pip.conf, uv does not need to be installed here."""
    if importlib.util.find_spec("pip"):
        return [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(out), str(copy)]
    uv = find_uv() or shutil.which("uv")
    if not uv:
        raise SourceError("neither pip nor uv is here to build with", source=str(copy), hint="install uv")
    return [uv, "build", "--quiet", "--wheel", "--python", sys.executable, "--out-dir", str(out), str(copy)]


def _quote(name: str) -> str:
    """Write a file's name into RECORD, which is CSV."""
    return f'"{name}"' if "," in name else name
