"""Files and folders from S3."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from flambe_ansible.ec2.errors import aws_call
from flambe_ansible.ec2.session import make_client, make_session
from flambe_ansible.errors import AWSError
from flambe_ansible.files import write_json

if TYPE_CHECKING:
    import boto3

Report = Callable[[int, int | None], None]


@aws_call("fetch from S3")
def download(
    url: str,
    folder: Path,
    *,
    session: boto3.Session | None = None,
    endpoint_url: str | None = None,
    report: Report | None = None,
) -> Path:
    """Fetch an object, or all objects below a prefix; unchanged files are not fetched again.

    An object with exactly this key is a file, anything else a folder. The folder must not be used for another URL.
    Without a session or endpoint, the user's AWS configuration is used.
    """
    parts = urlsplit(url)
    bucket, key = parts.netloc, parts.path.lstrip("/")
    client = make_client(session or make_session().to_boto3(), "s3", endpoint_url=endpoint_url)
    objects = _list(client, bucket, key)
    if not objects:
        raise AWSError(f"{url}: no such object or folder", operation="ListObjectsV2", code="NoSuchKey")
    is_file = any(one["Key"] == key for one in objects) and not key.endswith("/")
    target = folder / "content" / (PurePosixPath(key).name or bucket)
    if is_file:
        objects = [one for one in objects if one["Key"] == key]
    prefix = key if is_file else key.rstrip("/")
    wanted = {target / one["Key"].removeprefix(prefix).lstrip("/"): one for one in objects}
    for path in wanted:
        if not path.resolve().is_relative_to(target.resolve()):
            raise AWSError(
                f"{url}: the key {wanted[path]['Key']!r} leads outside its folder", operation="ListObjectsV2"
            )
    _fetch(client, bucket, wanted, folder, report)
    _remove_others(target, wanted)
    return target


def _list(client: Any, bucket: str, key: str) -> list[dict[str, Any]]:
    """List the objects of a key or below it; empty objects that represent folders are left out."""
    found: list[dict[str, Any]] = []
    for page in client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=key):
        found += page.get("Contents", [])
    prefix = f"{key.rstrip('/')}/" if key else ""
    return [
        one for one in found if (one["Key"] == key or one["Key"].startswith(prefix)) and not one["Key"].endswith("/")
    ]


def _fetch(client: Any, bucket: str, wanted: dict[Path, dict[str, Any]], folder: Path, report: Report | None) -> None:
    """Fetch missing and changed objects."""
    facts_file = folder / "facts.json"
    facts = json.loads(facts_file.read_text()) if facts_file.is_file() else {}
    total, done = sum(one["Size"] for one in wanted.values()), 0
    for path, one in wanted.items():
        stamp = f"{one['ETag']} {one['Size']}"
        if facts.get(one["Key"]) != stamp or not path.is_file() or path.stat().st_size != one["Size"]:
            path.parent.mkdir(parents=True, exist_ok=True)
            partial = folder / "partial"
            client.download_file(bucket, one["Key"], str(partial))
            partial.replace(path)
            facts[one["Key"]] = stamp
            write_json(facts_file, facts)
        done += one["Size"]
        if report:
            report(done, total)


def _remove_others(target: Path, wanted: dict[Path, dict[str, Any]]) -> None:
    """Remove files whose objects no longer exist."""
    for path in target.rglob("*") if target.is_dir() else ():
        if path.is_file() and path not in wanted:
            path.unlink()
