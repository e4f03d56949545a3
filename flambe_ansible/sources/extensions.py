"""Extensions: folders, git repositories and requirements, ready to be sent and installed."""

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
    """How an extension travels."""

    LOCAL = "local"
    GIT = "git"
    REQUIREMENT = "requirement"


@dataclass(frozen=True, kw_only=True)
class Extension:
    """An extension that is ready to be sent, or to be asked for by the hosts.

    Attributes:
        name: The module that flambé imports.
        kind: How it travels.
        origin: Where it comes from, for people; without credentials.
        path: The folder or archive here that is sent; None for a requirement.
        requirement: What the hosts' installer is asked for; "" for what is sent. May hold credentials of a URL.
        digest: Fingerprint of its content, or of the requirement's text; the same means: nothing to do.
        size: Bytes to send.
    """

    name: str
    kind: ExtensionKind
    origin: str
    path: Path | None = None
    requirement: str = field(default="", repr=False)
    digest: str
    size: int = 0


def fetch_extensions(
    declared: Iterable[Declared], *, folder: Path, cache: Path | None = None, observer: Observer = ignore
) -> tuple[Extension, ...]:
    """Bring extensions to this machine.

    Git repositories are cloned with the user's own git configuration into a cache, which later runs only pull.

    Args:
        declared: The extensions as a file names them.
        folder: The file's folder; relative paths count from it.
        cache: Where clones are kept; the user's own cache if None.
        observer: Hears of anything larger than 10 MB.

    Raises:
        ClusterConfigurationError: An extension is neither path, URL nor requirement, or cannot be installed.
        SourceError: A repository cannot be fetched.
    """
    clones = cache or paths.state_root() / "cache" / "extensions"
    fetched = tuple(_fetch(one, folder, clones) for one in declared)
    for one in fetched:
        if one.size > content.UPLOAD_WARN_LIMIT_MB * content.MB:
            observer(Notice(message=f"extension {one.name}: {one.size // content.MB} MB to send ({one.origin})"))
    return fetched


def _fetch(declared: Declared, folder: Path, clones: Path) -> Extension:
    """Bring one extension here."""
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
        locate_extension(str(path), folder)  # refuses a folder that cannot be installed
    except LocationError as error:
        problem = declared.place.problem(f"extension {declared.name}: {redact(str(error))}", error.expected)
        raise ClusterConfigurationError.of([problem]) from error
    except SourceError as error:
        raise SourceError(
            f"extension {declared.name}: {error.message}", source=error.source, hint=error.hint
        ) from error
    return _measure(declared.name, ExtensionKind.GIT, redact(declared.value), path)


def _measure(name: str, kind: ExtensionKind, origin: str, path: Path) -> Extension:
    """Describe an extension that is here."""
    size = path.stat().st_size if path.is_file() else sum(one.lstat().st_size for one in content.files(path))
    return Extension(name=name, kind=kind, origin=origin, path=path, digest=content.digest(path), size=size)
