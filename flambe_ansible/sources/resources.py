"""Resources: files and folders that an experiment reads, from this machine, S3 or the web."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from flambe_ansible import paths
from flambe_ansible.errors import AWSError, ClusterConfigurationError, SourceError
from flambe_ansible.events import Notice, Observer, ignore
from flambe_ansible.sources import content, http
from flambe_ansible.sources.declared import Declared
from flambe_ansible.sources.locations import LocationError, locate_resource, redact

if TYPE_CHECKING:
    import boto3

# Hears a resource's name, how many bytes are here, and of how many (None: nobody knows).
Progress = Callable[[str, int, int | None], None]


class ResourceKind(StrEnum):
    """Where a resource comes from."""

    LOCAL = "local"
    S3 = "s3"
    HTTP = "http"
    CLUSTER = "cluster"


@dataclass(frozen=True, kw_only=True)
class Resource:
    """A resource that is ready to be sent, or that is on the hosts already.

    Attributes:
        name: Its name in the experiment.
        kind: Where it comes from.
        origin: What the file says, without credentials.
        path: The file or folder here; None for one that is on the hosts.
        size: Bytes to send.
        location: The path on the hosts of one that is there already, else "".
    """

    name: str
    kind: ResourceKind
    origin: str
    path: Path | None = None
    size: int = 0
    location: str = ""


def fetch_resources(
    declared: Iterable[Declared],
    *,
    folder: Path,
    cache: Path | None = None,
    session: boto3.Session | None = None,
    observer: Observer = ignore,
    progress: Progress | None = None,
) -> tuple[Resource, ...]:
    """Bring resources to this machine and measure them; what is unchanged since the last time is not fetched again.

    Args:
        declared: The resources as a file names them.
        folder: The file's folder; relative paths count from it.
        cache: Where downloads are kept; the user's own cache if None.
        session: For S3; None is the user's own configuration.
        observer: Hears of anything larger than 10 MB.
        progress: Hears how far each download is.

    Raises:
        ClusterConfigurationError: A resource is not there.
        SourceError: A download failed.
        AWSError: One from S3 failed.
    """
    downloads = cache or paths.state_root() / "cache" / "resources"
    fetched = []
    for one in declared:
        resource = _fetch(one, folder, downloads, session, progress)
        if resource.size > content.UPLOAD_WARN_LIMIT_MB * content.MB:
            message = f"resource {resource.name}: {resource.size // content.MB} MB to send ({resource.origin})"
            observer(Notice(message=message))
        fetched.append(resource)
    return tuple(fetched)


def _fetch(
    declared: Declared, folder: Path, downloads: Path, session: boto3.Session | None, progress: Progress | None
) -> Resource:
    """Bring one resource here."""
    if declared.cluster:
        return Resource(name=declared.name, kind=ResourceKind.CLUSTER, origin=declared.value, location=declared.value)
    report = partial(progress, declared.name) if progress else None
    try:
        location = locate_resource(declared.value, folder)
        if isinstance(location, Path):
            kind, path = ResourceKind.LOCAL, location
        elif location.lower().startswith("s3:"):
            kind, path = ResourceKind.S3, _fetch_s3(location, downloads, session, report)
        else:
            kind, path = ResourceKind.HTTP, http.download(location, downloads, report=report)
    except LocationError as error:
        problem = declared.place.problem(f"resource {declared.name}: {error}", error.expected)
        raise ClusterConfigurationError.of([problem]) from error
    except SourceError as error:
        raise SourceError(f"resource {declared.name}: {error.message}", source=error.source, hint=error.hint) from error
    except AWSError as error:
        message = f"resource {declared.name}: {error.message}"
        raise AWSError(message, operation=error.operation, code=error.code, hint=error.hint) from error
    return Resource(name=declared.name, kind=kind, origin=redact(declared.value), path=path, size=content.size(path))


def _fetch_s3(url: str, downloads: Path, session: boto3.Session | None, report: http.Report | None) -> Path:
    """Fetch from S3; boto3 is imported only by who needs it."""
    from flambe_ansible.ec2 import s3

    home = downloads / hashlib.sha256(url.encode()).hexdigest()[:16]
    with content.locked(home):
        return s3.download(url, home, session=session, report=report)
