"""Files and folders from an S3 server on loopback."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto.server import ThreadedMotoServer

from flambe_ansible.ec2 import s3
from flambe_ansible.errors import AWSError, SourceLocation
from flambe_ansible.sources import Declared, ResourceKind, fetch_resources

OBJECTS = {
    "one.tsv": b"1",
    "one.tsv.gz": b"12",
    "data/": b"",
    "data/a.tsv": b"123",
    "data/deep/b.tsv": b"1234",
    "database/c.tsv": b"12345",
}


@pytest.fixture
def endpoint(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def client(endpoint: str) -> Any:
    client = boto3.client("s3", endpoint_url=endpoint, region_name="us-east-1")
    client.create_bucket(Bucket="bucket")
    for key, body in OBJECTS.items():
        client.put_object(Bucket="bucket", Key=key, Body=body)
    return client


def test_a_file(client: Any, endpoint: str, tmp_path: Path) -> None:
    path = s3.download("s3://bucket/one.tsv", tmp_path, endpoint_url=endpoint)
    assert path.name == "one.tsv"
    assert path.read_bytes() == b"1"


@pytest.mark.parametrize("url", ["s3://bucket/data", "s3://bucket/data/"])
def test_a_folder(url: str, client: Any, endpoint: str, tmp_path: Path) -> None:
    received: list[tuple[int, int | None]] = []
    path = s3.download(url, tmp_path, endpoint_url=endpoint, report=lambda done, total: received.append((done, total)))
    found = {one.relative_to(path).as_posix(): one.read_bytes() for one in path.rglob("*") if one.is_file()}
    assert path.name == "data"
    assert found == {"a.tsv": b"123", "deep/b.tsv": b"1234"}
    assert received[-1] == (7, 7)


def test_a_whole_bucket(client: Any, endpoint: str, tmp_path: Path) -> None:
    path = s3.download("s3://bucket", tmp_path, endpoint_url=endpoint)
    assert path.name == "bucket"
    assert (path / "database" / "c.tsv").read_bytes() == b"12345"


def test_only_changed_files_are_downloaded_again(client: Any, endpoint: str, tmp_path: Path) -> None:
    path = s3.download("s3://bucket/data", tmp_path, endpoint_url=endpoint)
    born = (path / "a.tsv").stat().st_ino
    client.put_object(Bucket="bucket", Key="data/deep/b.tsv", Body=b"4321")
    client.put_object(Bucket="bucket", Key="data/new.tsv", Body=b"new")
    s3.download("s3://bucket/data", tmp_path, endpoint_url=endpoint)
    assert (path / "a.tsv").stat().st_ino == born
    assert (path / "deep" / "b.tsv").read_bytes() == b"4321"
    client.delete_object(Bucket="bucket", Key="data/new.tsv")
    s3.download("s3://bucket/data", tmp_path, endpoint_url=endpoint)
    assert not (path / "new.tsv").exists()


def test_a_missing_object_or_bucket(client: Any, endpoint: str, tmp_path: Path) -> None:
    with pytest.raises(AWSError, match="no such object or folder"):
        s3.download("s3://bucket/dat", tmp_path, endpoint_url=endpoint)
    with pytest.raises(AWSError) as caught:
        s3.download("s3://no-such-bucket/x", tmp_path, endpoint_url=endpoint)
    assert caught.value.code == "NoSuchBucket"


def test_a_key_that_leads_outside_the_folder_is_refused(client: Any, endpoint: str, tmp_path: Path) -> None:
    client.put_object(Bucket="bucket", Key="outside/../../../../x", Body=b"x")
    with pytest.raises(AWSError, match="leads outside its folder"):
        s3.download("s3://bucket/outside", tmp_path / "in", endpoint_url=endpoint)


def test_as_a_resource(client: Any, endpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", endpoint)
    declared = Declared(name="r", value="s3://bucket/data", location=SourceLocation("x.yaml"))
    (found,) = fetch_resources([declared], s3_download=s3.download, folder=tmp_path)
    assert (found.kind, found.size) == (ResourceKind.S3, 7)
    wrong = Declared(name="r", value="s3://bucket/none", location=SourceLocation("x.yaml"))
    with pytest.raises(AWSError, match="resource r: "):
        fetch_resources([wrong], s3_download=s3.download, folder=tmp_path)
