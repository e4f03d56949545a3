"""A web server on loopback that records its requests, and git without the user's configuration."""

from __future__ import annotations

import base64
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest


@dataclass
class Web:
    """The files of the server, and the requests that it received."""

    url: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    etags: dict[str, str] = field(default_factory=dict)
    moved: dict[str, str] = field(default_factory=dict)
    cut: set[str] = field(default_factory=set)
    without_length: set[str] = field(default_factory=set)
    login: str = ""
    asked: list[tuple[str, int, str]] = field(default_factory=list)


class Handler(BaseHTTPRequestHandler):
    web: Web

    def do_GET(self) -> None:
        web, path = self.web, self.path.split("?")[0]
        authorization = self.headers.get("Authorization", "")
        status = 404
        if web.login and authorization != "Basic " + base64.b64encode(web.login.encode()).decode():
            status = 401
        elif path in web.moved:
            status = 302
        elif path in web.files:
            known = self.headers.get("If-None-Match")
            status = 304 if known and known == web.etags.get(path) else 200
        web.asked.append((path, status, authorization))
        self.send_response(status)
        body = web.files[path] if status == 200 else b""
        if status == 302:
            self.send_header("Location", web.moved[path])
        if path in web.etags:
            self.send_header("ETag", web.etags[path])
        if path not in web.without_length:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: len(body) // 2] if path in web.cut else body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (the name is the base class's)
        pass


@pytest.fixture
def web() -> Iterator[Web]:
    yield from serve()


@pytest.fixture
def other_web() -> Iterator[Web]:
    yield from serve()


def serve() -> Iterator[Web]:
    web = Web()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("One", (Handler,), {"web": web}))
    web.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield web
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    config = tmp_path / "gitconfig"
    config.write_text(
        "[user]\n  name = Test\n  email = test@example.org\n"
        '[init]\n  defaultBranch = main\n[protocol "file"]\n  allow = always\n'
    )
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(config))
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("no_proxy", "127.0.0.1")


@pytest.fixture
def make_package() -> Callable[[Path], Path]:
    """Return a function that writes a package that builds without network access."""

    def make(folder: Path) -> Path:
        (folder / "ext").mkdir(parents=True)
        (folder / "ext" / "__init__.py").write_text("ANSWER = 42\n")
        (folder / "pyproject.toml").write_text(
            '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
            '[project]\nname = "ext"\nversion = "1.0"\n'
        )
        (folder / "backend.py").write_text(BACKEND)
        return folder

    return make


BACKEND = """
import zipfile
from pathlib import Path

def build_wheel(wheel_directory, config_settings=None, metadata_directory=None):
    name = "ext-1.0-py3-none-any.whl"
    if Path("broken").exists():
        raise SystemExit("this does not build")
    Path("build").mkdir()  # fails if an earlier build left this folder
    info = "ext-1.0.dist-info/"
    with zipfile.ZipFile(Path(wheel_directory, name), "w") as wheel:
        for one in sorted(Path("ext").rglob("*.py")):
            wheel.write(one, one.as_posix())
        wheel.writestr("ext-1.0.data/scripts/ext-run", "#!python\\nprint('run')\\n")
        metadata = "Metadata-Version: 2.1\\nName: ext\\nVersion: 1.0\\n\\nVersion: of the text\\n"
        wheel.writestr(info + "METADATA", metadata)
        tags = "Wheel-Version: 1.0\\nGenerator: test\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n"
        wheel.writestr(info + "WHEEL", tags)
        wheel.writestr(info + "RECORD", "")
    return name
"""
