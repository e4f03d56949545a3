"""Resources are prepared for upload."""

from __future__ import annotations

from pathlib import Path

import pytest

from flambe_ansible.ec2 import s3
from flambe_ansible.errors import ClusterConfigurationError, SourceError, SourceLocation
from flambe_ansible.events import Event, Notice
from flambe_ansible.sources import Declared, ResourceKind, fetch_resources

from .conftest import Web


def declare(name: str, value: str, *, cluster: bool = False) -> Declared:
    return Declared(name=name, value=value, location=SourceLocation("x.yaml", 3, 6), cluster=cluster)


def test_each_kind(tmp_path: Path, web: Web) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "one").write_text("12345")
    web.files["/two.tsv"] = b"1234567"
    received: list[tuple[str, int, int | None]] = []
    folder, remote, there = fetch_resources(
        [declare("f", "folder"), declare("w", f"{web.url}/two.tsv"), declare("c", "/mnt/x", cluster=True)],
        folder=tmp_path,
        s3_download=s3.download,
        progress=lambda *event: received.append(event),
    )
    assert (folder.kind, folder.path, folder.size) == (ResourceKind.LOCAL, tmp_path / "folder", 5)
    assert (remote.kind, remote.size) == (ResourceKind.HTTP, 7)
    assert remote.path is not None
    assert remote.path.is_relative_to(tmp_path / "state" / "cache" / "resources")
    assert (there.kind, there.path, there.location, there.size) == (ResourceKind.CLUSTER, None, "/mnt/x", 0)
    assert received == [("w", 7, 7)]


def test_large_resources_are_announced(tmp_path: Path) -> None:
    for name, size in {"small": 10, "large": 11}.items():
        with (tmp_path / name).open("wb") as file:
            file.truncate(size * 1024 * 1024)
    received: list[Event] = []
    fetch_resources(
        [declare("s", "small"), declare("l", "large")],
        folder=tmp_path,
        s3_download=s3.download,
        observer=received.append,
    )
    assert received == [Notice(message="resource l: 11 MB to send (large)")]


def test_failures_include_the_name_of_the_resource(tmp_path: Path, web: Web) -> None:
    with pytest.raises(ClusterConfigurationError, match=r"x\.yaml:3:6: resource r: none: no such file"):
        fetch_resources([declare("r", "none")], folder=tmp_path, s3_download=s3.download)
    with pytest.raises(SourceError, match=r"resource r: .*answers 404"):
        fetch_resources([declare("r", f"{web.url}/none")], folder=tmp_path, s3_download=s3.download)
