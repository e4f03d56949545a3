"""Downloads over HTTP are complete or fail."""

from __future__ import annotations

from pathlib import Path

import pytest

from flambe_ansible.errors import SourceError
from flambe_ansible.sources import http

from .conftest import Web


def test_a_file_is_downloaded_with_progress(web: Web, tmp_path: Path) -> None:
    content = bytes(range(256)) * 4096
    web.files["/a/data.bin"] = content
    received: list[tuple[int, int | None]] = []
    path = http.download(
        f"{web.url}/a/data.bin?x=1#y", tmp_path, report=lambda done, total: received.append((done, total))
    )
    assert path.name == "data.bin"
    assert path.read_bytes() == content
    assert received[-1] == (len(content), len(content))
    assert len(received) > 1


def test_an_unchanged_file_is_not_downloaded_again(web: Web, tmp_path: Path) -> None:
    web.files["/x"], web.etags["/x"] = b"one", '"1"'
    first = http.download(f"{web.url}/x", tmp_path)
    assert http.download(f"{web.url}/x", tmp_path) == first
    web.files["/x"], web.etags["/x"] = b"two", '"2"'
    assert http.download(f"{web.url}/x", tmp_path).read_bytes() == b"two"
    assert [status for _path, status, _login in web.asked] == [200, 304, 200]


def test_an_interrupted_download_keeps_the_old_file_and_is_repeated(web: Web, tmp_path: Path) -> None:
    web.files["/x"] = b"old"
    path = http.download(f"{web.url}/x", tmp_path)
    web.files["/x"] = b"new content"
    web.cut.add("/x")
    with pytest.raises(SourceError, match="download ended after 5 of 11 bytes"):
        http.download(f"{web.url}/x", tmp_path)
    assert path.read_bytes() == b"old"
    web.cut.clear()
    assert http.download(f"{web.url}/x", tmp_path).read_bytes() == b"new content"


def test_a_server_that_does_not_send_the_size(web: Web, tmp_path: Path) -> None:
    web.files["/x"] = b"some"
    web.without_length.add("/x")
    received: list[tuple[int, int | None]] = []
    http.download(f"{web.url}/x", tmp_path, report=lambda done, total: received.append((done, total)))
    assert received == [(4, None)]


def test_credentials_are_not_sent_to_other_hosts(web: Web, other_web: Web, tmp_path: Path) -> None:
    web.login = "me:p@ss"
    web.files["/x"] = other_web.files["/y"] = b"data"
    web.moved["/away"] = f"{other_web.url}/y"
    with_login = web.url.replace("://", "://me:p%40ss@")
    assert http.download(f"{with_login}/x", tmp_path).read_bytes() == b"data"
    assert http.download(f"{with_login}/away", tmp_path).name == "away"
    assert other_web.asked == [("/y", 200, "")]
    with pytest.raises(SourceError, match="answers 401") as caught:
        http.download(f"{web.url.replace('://', '://me:wrong@')}/x", tmp_path)
    assert "wrong" not in str(caught.value)


def test_redirects_are_limited_to_http(web: Web, tmp_path: Path) -> None:
    web.moved["/x"] = "file:///etc/passwd"
    with pytest.raises(SourceError, match="302"):
        http.download(f"{web.url}/x", tmp_path)


def test_servers_that_refuse_or_do_not_exist(web: Web, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="the server answers 404"):
        http.download(f"{web.url}/none", tmp_path)
    with pytest.raises(SourceError, match=r"download failed: .*refused"):
        http.download("http://127.0.0.1:1/x", tmp_path)


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("/a/data.tsv.gz", "data.tsv.gz"),
        ("/", "content"),
        ("/a%2F..%2Fb", "b"),
        ("/a/.hidden/", "hidden"),
        ("/ü x", "__x"),
    ],
)
def test_names(url: str, name: str) -> None:
    assert http._name(f"http://h{url}") == name
