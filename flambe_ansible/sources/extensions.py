"""Extensions: folders, git repositories and requirements, fetched for upload and installation."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from flambe_ansible import paths
from flambe_ansible.errors import ClusterConfigurationError, SourceError
from flambe_ansible.events import Notice, Observer, ignore
from flambe_ansible.sources import content, git
from flambe_ansible.sources.declared import Declared
from flambe_ansible.sources.locations import LocationError, Required, locate_extension, redact


class ExtensionKind(StrEnum):
    """The kind of an extension."""

    LOCAL = "local"
    GIT = "git"
    REQUIREMENT = "requirement"


@dataclass(frozen=True, kw_only=True)
class Extension:
    """An extension that is ready for upload, or that the hosts install from an index or URL."""

    name: str  # of the module that flambé imports
    kind: ExtensionKind
    origin: str  # for messages; without credentials
    path: Path | None = None  # the folder or archive to send; None for a requirement
    requirement: str = field(default="", repr=False)
    digest: str  # of the content, or of the requirement's text; unchanged: no installation
    size: int = 0  # bytes to send


def fetch_extensions(
    declared: Iterable[Declared], *, folder: Path, cache: Path | None = None, observer: Observer = ignore
) -> tuple[Extension, ...]:
    """Fetch extensions to this machine; relative paths start in ``folder``.

    Git repositories are cloned with the user's git configuration into a cache; later calls fetch only changes. The
    observer receives a notice for each extension larger than 10 MB.

    Raises:
        ClusterConfigurationError: An extension is not a path, URL or requirement, or cannot be installed.
        SourceError: Fetching a repository failed.
    """
    clones = cache or paths.state_root() / "cache" / "extensions"
    fetched = tuple(_fetch(one, folder, clones) for one in declared)
    for one in fetched:
        if one.size > content.UPLOAD_WARN_LIMIT_MB * content.MB:
            observer(Notice(message=f"extension {one.name}: {one.size // content.MB} MB to send ({one.origin})"))
    return fetched


def _fetch(declared: Declared, folder: Path, clones: Path) -> Extension:
    """Fetch one extension."""
    try:
        location = locate_extension(declared.value, folder)
        if isinstance(location, Required):
            return Extension(
                name=declared.name,
                kind=ExtensionKind.REQUIREMENT,
                origin=redact(location.text),
                requirement=location.text,
                digest=hashlib.sha256(location.text.encode()).hexdigest(),
            )
        if isinstance(location, Path):
            return _measure(declared.name, ExtensionKind.LOCAL, str(location), location)
        path = git.fetch(location, clones)
        locate_extension(str(path), folder)  # raises an error if the folder cannot be installed
    except LocationError as error:
        problem = declared.location.problem(f"extension {declared.name}: {redact(str(error))}", error.expected)
        raise ClusterConfigurationError.of([problem]) from error
    except SourceError as error:
        raise SourceError(
            f"extension {declared.name}: {error.message}", source=error.source, hint=error.hint
        ) from error
    return _measure(declared.name, ExtensionKind.GIT, redact(declared.value), path)


def _measure(name: str, kind: ExtensionKind, origin: str, path: Path) -> Extension:
    """Make an extension from a local path."""
    size = path.stat().st_size if path.is_file() else sum(one.lstat().st_size for one in content.files(path))
    return Extension(name=name, kind=kind, origin=origin, path=path, digest=content.digest(path), size=size)
