"""A package index on loopback, as HTML and as JSON, with and without a login."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

import pytest
from ansible_collections.flambe.cluster.plugins.module_utils import package_index

CONTENT = b"a wheel"
SHA256 = hashlib.sha256(CONTENT).hexdigest()
FILE = "uv-1.0-py3-none-any.whl"


class Index(BaseHTTPRequestHandler):
    kind: ClassVar[str] = "html"
    login: ClassVar[str] = ""

    def do_GET(self) -> None:
        expected = "Basic " + base64.b64encode(self.login.encode()).decode()
        if self.login and self.headers.get("Authorization") != expected:
            self.send_response(401)
            self.end_headers()
            return
        if self.path == "/simple/uv/":
            html = f'<a href="../../files/{FILE}#sha256={SHA256}">{FILE}</a>'.encode()
            document = json.dumps({"files": [{"filename": FILE, "url": f"/files/{FILE}"}]}).encode()
            self.answer(html if self.kind == "html" else document, f"application/vnd.pypi.simple.v1+{self.kind}")
        elif self.path == f"/files/{FILE}":
            self.answer(CONTENT, "application/octet-stream")
        else:
            self.send_response(404)
            self.end_headers()

    def answer(self, body: bytes, kind: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002
        return


@pytest.fixture
def address() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Index)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield f"127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("kind", ["html", "json"])
@pytest.mark.parametrize("login", ["", "u:p%40ss"])
def test_fetch(address: str, kind: str, login: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Index, "kind", kind)
    monkeypatch.setattr(Index, "login", login.replace("%40", "@"))
    index = f"http://{login + '@' if login else ''}{address}/simple"
    assert package_index.fetch([index], "uv", FILE, SHA256, {}) == CONTENT


def test_the_next_index_is_used(address: str) -> None:
    indexes = [f"http://{address}/nothing", f"http://{address}/simple"]
    assert package_index.fetch(indexes, "uv", FILE, SHA256, {}) == CONTENT


@pytest.mark.parametrize(
    ("filename", "sha256", "expected"), [(FILE, "0" * 64, "SHA-256"), ("other.whl", SHA256, "has no other.whl")]
)
def test_errors_show_the_index_without_its_password(address: str, filename: str, sha256: str, expected: str) -> None:
    with pytest.raises(package_index.PackageNotFoundError, match=expected) as caught:
        package_index.fetch([f"http://u:hidden@{address}/simple"], "uv", filename, sha256, {})
    assert "hidden" not in str(caught.value)
    assert address in str(caught.value)


def test_no_index_at_all() -> None:
    with pytest.raises(package_index.PackageNotFoundError, match="no package index"):
        package_index.fetch([], "uv", FILE, SHA256, {})
