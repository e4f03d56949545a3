"""The Python packages that a user lists: in a file of requirements, a lock or a project, or as a list.

The result is for a host: requirements without options, and wheels that travel to it. A local folder becomes a wheel.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename

from flambe_ansible.errors import SourceError
from flambe_ansible.events import Observer, ignore
from flambe_ansible.pythons import clean_environment, find_uv
from flambe_ansible.sources.checkout import build_wheel
from flambe_ansible.sources.packages import Requirements

_COMMENT = re.compile(r"(^|\s)#.*$")
_HASH = re.compile(r"\s--hash[=\s]\S+")
_LOCAL = re.compile(r"(?:[A-Za-z0-9][\w.-]*\s*(?:\[[^\]]*\])?\s*@\s*)?(?P<path>(?:file:|\.{0,2}/|~/).*)")
_CONSTRAINTS = ("-c", "--constraint")
_INDEX_OPTIONS = ("-i", "--index-url", "--extra-index-url", "-f", "--find-links", "--no-index", "--trusted-host")


def read_requirements(file: Path | None, packages: Sequence[str] = (), *, observer: Observer = ignore) -> Requirements:
    """Read the packages of a file and of a list.

    Args:
        file: ``requirements.txt``, ``uv.lock``, ``pylock.toml`` or ``pyproject.toml``, or None.
        packages: Requirements, or paths of wheels and project folders.
        observer: Receives a notice of each wheel that is built.

    Raises:
        SourceError: A line cannot be used; the message names the file and the line.
    """
    reader = _Reader(observer)
    for package in packages:
        reader.add(package, Path.cwd(), location=package)
    if file is not None:
        reader.read(file)
    return Requirements(
        lines=tuple(dict.fromkeys(reader.lines)),
        constraints=tuple(dict.fromkeys(reader.constraints)),
        wheels=tuple(dict.fromkeys(reader.wheels)),
    )


class _Reader:
    """Collects the packages of one cluster."""

    def __init__(self, observer: Observer) -> None:
        self.lines: list[str] = []
        self.constraints: list[str] = []
        self.wheels: list[Path] = []
        self._observer = observer
        self._read: set[Path] = set()

    def read(self, file: Path) -> None:
        """Read a file by its kind."""
        if file.name == "uv.lock":
            self._read_text(file, _export(file))
        elif file.suffix == ".toml":
            document = _load_toml(file)
            for line in _list_project(file, document) if "project" in document else _list_lock(file, document):
                self.add(line, file.parent, location=f"{file}: {line}")
        else:
            self._read_text(file, _read_file(file))

    def _read_text(self, file: Path, text: str, *, constraints: bool = False) -> None:
        if file in self._read:
            return
        self._read.add(file)
        for number, line in _join_lines(text):
            location = f"{file}:{number}"
            word, _, rest = line.partition(" ") if " " in line else line.partition("=")
            rest = rest.strip()
            if word in ("-r", "--requirement", *_CONSTRAINTS):
                other = file.parent / rest
                self._read_text(other, _read_file(other, location), constraints=constraints or word in _CONSTRAINTS)
            elif word in ("-e", "--editable"):
                self.add(rest, file.parent, location=location)
            elif word in _INDEX_OPTIONS:
                hint = "set index_url or torch_backend in `runtime:`, or configure pip on the hosts with setup_cmds"
                raise SourceError(f"{location}: {word} is not supported here", source=str(file), hint=hint)
            elif line.startswith("-"):
                raise SourceError(f"{location}: unknown option {word}", source=str(file))
            elif constraints:
                self.constraints.append(_parse(line, location))
            else:
                self.add(line, file.parent, location=location)

    def add(self, line: str, folder: Path, *, location: str) -> None:
        """Add a requirement, or a local wheel or project."""
        local = _LOCAL.fullmatch(line.strip()) or (_LOCAL.fullmatch(f"./{line.strip()}") if _is_path(line) else None)
        if local is None:
            self.lines.append(_parse(line, location))
            return
        text = local["path"]
        path = Path(unquote(urlsplit(text).path) if text.startswith("file:") else text).expanduser()
        self.wheels.append(self._find_wheel(folder / path, location))

    def _find_wheel(self, path: Path, location: str) -> Path:
        if path.is_dir():
            return build_wheel(path, observer=self._observer).path
        try:
            parse_wheel_filename(path.name)
        except InvalidWheelFilename:
            raise SourceError(f"{location}: {path} is neither a wheel nor a folder", source=str(path)) from None
        if not path.is_file():
            raise SourceError(f"{location}: there is no file {path}", source=str(path))
        return path.resolve()


def _is_path(line: str) -> bool:
    """Return whether a line without a leading ./ is the path of a wheel."""
    return line.strip().endswith(".whl") and " " not in line.strip()


def _join_lines(text: str) -> Iterator[tuple[int, str]]:
    """Yield (number, line) without comments, hashes and empty lines; continued lines are joined."""
    joined, start = "", 0
    for number, raw in enumerate(text.splitlines(), 1):
        start = start if joined else number
        joined += _COMMENT.sub("", raw)
        if joined.endswith("\\"):
            joined = joined[:-1] + " "
            continue
        line = _HASH.sub("", joined).strip()
        joined = ""
        if line:
            yield start, line


def _parse(line: str, location: str) -> str:
    """Check a PEP 508 requirement."""
    try:
        return str(Requirement(line))
    except InvalidRequirement as error:
        reason = str(error).splitlines()[0]
        raise SourceError(f"{location}: not a requirement: {reason}", source=location) from error


def _read_file(file: Path, location: str = "") -> str:
    try:
        return file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8 text"
        raise SourceError(f"{location or file}: {file} cannot be read: {reason}", source=str(file)) from error


def _load_toml(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(_read_file(file))
    except tomllib.TOMLDecodeError as error:
        raise SourceError(f"{file}: not TOML: {error}", source=str(file)) from error


def _list_project(file: Path, document: dict[str, Any]) -> Iterator[str]:
    """List the dependencies of a pyproject.toml; local sources of uv are followed."""
    project = document["project"]
    if "dependencies" in project.get("dynamic", ()):
        hint = "write them to a requirements.txt: uv pip compile pyproject.toml -o requirements.txt"
        raise SourceError(f"{file}: its dependencies are dynamic", source=str(file), hint=hint)
    sources = {
        canonicalize_name(name): one for name, one in document.get("tool", {}).get("uv", {}).get("sources", {}).items()
    }
    for line in project.get("dependencies", ()):
        name = canonicalize_name(Requirement(_parse(line, str(file))).name)
        source = sources.get(name)
        if source is None:
            yield line
        elif isinstance(source, dict) and "path" in source:
            yield f"{name} @ {_as_local(source['path'])}"
        else:
            hint = "run `uv lock`, and set `requirements: uv.lock`"
            raise SourceError(
                f"{file}: the source of {name} in [tool.uv.sources] is not a path", source=str(file), hint=hint
            )


def _list_lock(file: Path, document: dict[str, Any]) -> Iterator[str]:
    """List the packages of a pylock.toml (PEP 751)."""
    if "lock-version" not in document:
        raise SourceError(f"{file}: neither a project nor a lock (pylock.toml)", source=str(file))
    for package in document.get("packages", ()):
        local = package.get("directory") or package.get("archive")
        marker = f" ; {package['marker']}" if package.get("marker") else ""
        if local and local.get("path"):
            yield f"{package['name']} @ {_as_local(local['path'])}"
        elif "version" in package:
            yield f"{package['name']}=={package['version']}{marker}"
        else:
            raise SourceError(f"{file}: package {package.get('name')} has neither version nor path", source=str(file))


def _as_local(path: str) -> str:
    return path if path.startswith(("/", "./", "../", "~/")) else f"./{path}"


def _export(file: Path) -> str:
    """Write a uv.lock as requirements with exact versions."""
    uv = find_uv() or shutil.which("uv")
    if not uv:
        raise SourceError(f"{file}: reading it needs uv on this machine", source=str(file), hint="install uv")
    argv = [uv, "export", "--quiet", "--frozen", "--no-hashes", "--no-emit-project", "--no-header", "--no-annotate"]
    done = subprocess.run(
        [*argv, "--no-dev", "--project", str(file.parent)],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        env=clean_environment(),
        check=False,
    )
    if done.returncode:
        raise SourceError(f"{file}: uv export failed: {done.stderr.strip()}", source=str(file))
    return done.stdout
