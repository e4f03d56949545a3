"""Sessions use the user's AWS configuration or ignore it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from flambe_ansible.ec2 import session
from flambe_ansible.errors import AWSError

ANSWER = b'{"Parameter": {"Value": "answer"}}'
CLOSED = "http://127.0.0.1:1"


class Api(BaseHTTPRequestHandler):
    """Answers GetParameter."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Length", str(len(ANSWER)))
        self.end_headers()
        self.wfile.write(ANSWER)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def endpoint() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Api)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(
    ("option", "environment", "region"),
    [
        ("eu-central-1", {"AWS_REGION": "eu-west-3", "AWS_DEFAULT_REGION": "ap-south-1"}, "eu-central-1"),
        (None, {"AWS_REGION": "eu-west-3", "AWS_DEFAULT_REGION": "ap-south-1"}, "eu-west-3"),
        (None, {"AWS_REGION": "", "AWS_DEFAULT_REGION": "ap-south-1"}, "ap-south-1"),
        (None, {"AWS_DEFAULT_REGION": "ap-south-1"}, "ap-south-1"),
        (None, {}, "us-east-1"),
    ],
)
def test_make_session_resolves_the_region(
    option: str | None, environment: dict[str, str], region: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nonexistent")
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert session.make_session(option).region_name == region


def test_make_session_converts_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "no-such-profile")
    with pytest.raises(AWSError, match="no-such-profile") as caught:
        session.make_session()
    assert "AWS_PROFILE" in (caught.value.hint or "")


@pytest.mark.parametrize(
    "environment",
    [
        {"AWS_PROFILE": "no-such-profile"},
        {"AWS_DEFAULT_PROFILE": "no-such-profile"},
        {"AWS_CONFIG_FILE": "broken"},
        {"AWS_SHARED_CREDENTIALS_FILE": "broken"},
        {"AWS_USE_FIPS_ENDPOINT": "true"},
        {"http_proxy": CLOSED},
        {"HTTP_PROXY": CLOSED},
        {"AWS_CA_BUNDLE": ""},
        {"AWS_DEFAULTS_MODE": "unknown"},
        {"AWS_SESSION_TOKEN": "token", "AWS_ACCESS_KEY_ID": "AKUSER", "AWS_SECRET_ACCESS_KEY": "user"},
    ],
    ids=" ".join,
)
def test_an_isolated_session_ignores_the_environment(
    environment: dict[str, str], endpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "broken").write_text("[[not ini\n=")
    for name, value in environment.items():
        monkeypatch.setenv(name, str(tmp_path / value) if value == "broken" else value)
    made = session.make_isolated_session("eu-west-1", access_key="AKLAB", secret_key="s")
    client = session.make_client(made, "ssm", endpoint_url=endpoint)
    assert client.get_parameter(Name="x")["Parameter"]["Value"] == "answer"
    assert client.meta.endpoint_url == endpoint
    assert client.meta.region_name == made.region_name == "eu-west-1"
    assert not made._session.get_config_variable("use_fips_endpoint")
    credentials = made.get_credentials()
    assert credentials is not None
    assert (credentials.access_key, credentials.token) == ("AKLAB", None)


def test_an_isolated_session_does_not_read_the_home_folder(
    endpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".aws").mkdir()
    (tmp_path / ".aws" / "config").write_text("[[not ini\n=")
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(AWSError):
        session.make_session()
    made = session.make_isolated_session("eu-west-1", access_key="AKLAB", secret_key="s")
    client = session.make_client(made, "ssm", endpoint_url=endpoint)
    assert client.get_parameter(Name="x")["Parameter"]["Value"] == "answer"
