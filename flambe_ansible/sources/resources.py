"""Resources: files and folders that an experiment reads, from this machine, S3 or HTTP."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Protocol

from flambe_ansible import paths
from flambe_ansible.errors import AWSError, ClusterConfigurationError, SourceError
from flambe_ansible.events import Notice, Observer, ignore
from flambe_ansible.sources import content, http
from flambe_ansible.sources.declared import Declared
from flambe_ansible.sources.locations import LocationError, locate_resource, redact

# Called with a resource's name, the number of bytes fetched, and the total (None if unknown).
Progress = Callable[[str, int, int | None], None]


class S3Download(Protocol):
    """Fetches an ``s3://`` URL into a folder, as :func:`flambe_ansible.ec2.s3.download` does."""

    def __call__(self, url: str, folder: Path, /, *, report: http.Report | None = None) -> Path:
        """Return the file or folder; raises ``AWSError``."""


class ResourceKind(StrEnum):
    """The kind of a resource."""

    LOCAL = "local"
    S3 = "s3"
    HTTP = "http"
    CLUSTER = "cluster"


@dataclass(frozen=True, kw_only=True)
class Resource:
    """A resource that is ready for upload, or that is already on the hosts."""

    name: str
    kind: ResourceKind
    origin: str  # the value in the file, without credentials
    path: Path | None = None  # None if it is on the hosts
    size: int = 0  # bytes to send
    location: str = ""  # its path on the hosts if it is already there


def fetch_resources(
    declared: Iterable[Declared],
    *,
    folder: Path,
    cache: Path | None = None,
    s3_download: S3Download,
    observer: Observer = ignore,
    progress: Progress | None = None,
) -> tuple[Resource, ...]:
    """Fetch resources to this machine and measure them; unchanged ones are not fetched again.

    Relative paths start in ``folder``. The observer receives a notice for each resource larger than 10 MB.

    Raises:
        ClusterConfigurationError: A resource does not exist.
        SourceError: A download failed.
        AWSError: A download from S3 failed.
    """
    downloads = cache or paths.state_root() / "cache" / "resources"
    fetched = []
    for one in declared:
        resource = _fetch(one, folder, downloads, s3_download, progress)
        if resource.size > content.UPLOAD_WARN_LIMIT_MB * content.MB:
            message = f"resource {resource.name}: {resource.size // content.MB} MB to send ({resource.origin})"
            observer(Notice(message=message))
        fetched.append(resource)
    return tuple(fetched)


def _fetch(
    declared: Declared, folder: Path, downloads: Path, s3_download: S3Download, progress: Progress | None
) -> Resource:
    """Fetch one resource."""
    if declared.cluster:
        return Resource(name=declared.name, kind=ResourceKind.CLUSTER, origin=declared.value, location=declared.value)
    report = partial(progress, declared.name) if progress else None
    try:
        location = locate_resource(declared.value, folder)
        if isinstance(location, Path):
            kind, path = ResourceKind.LOCAL, location
        elif location.lower().startswith("s3:"):
            home = downloads / hashlib.sha256(location.encode()).hexdigest()[:16]
            with content.locked(home):
                kind, path = ResourceKind.S3, s3_download(location, home, report=report)
        else:
            kind, path = ResourceKind.HTTP, http.download(location, downloads, report=report)
    except LocationError as error:
        problem = declared.location.problem(f"resource {declared.name}: {error}", error.expected)
        raise ClusterConfigurationError.of([problem]) from error
    except (SourceError, AWSError) as error:
        error.message = f"resource {declared.name}: {error.message}"
        error.args = (error.message,)
        raise
    return Resource(name=declared.name, kind=kind, origin=redact(declared.value), path=path, size=content.size(path))
