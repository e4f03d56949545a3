"""Sessions use the user's AWS configuration or ignore it."""

from __future__ import annotations

import socket
import stat
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar

import pytest

from flambe_ansible.ec2 import api, session
from flambe_ansible.ec2.errors import Lab, UnclearAnswerError
from flambe_ansible.errors import AWSError

ANSWER = b'{"Parameter": {"Value": "answer"}}'
CLOSED = "http://127.0.0.1:1"


ROLE = """<AssumeRoleResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleResult><Credentials>
<AccessKeyId>ASIAROLE</AccessKeyId><SecretAccessKey>secret</SecretAccessKey><SessionToken>token</SessionToken>
<Expiration>2099-01-01T00:00:00Z</Expiration></Credentials></AssumeRoleResult></AssumeRoleResponse>"""
PROFILES = """[profile base]
aws_access_key_id = AKBASE
aws_secret_access_key = base
[profile work]
role_arn = arn:aws:iam::123456789012:role/work
source_profile = base
mfa_serial = arn:aws:iam::123456789012:mfa/ada
region = eu-west-1
"""


class Sts(BaseHTTPRequestHandler):
    """Answers AssumeRole, and records the requests."""

    requests: ClassVar[list[str]] = []

    def do_POST(self) -> None:
        self.requests.append(self.rfile.read(int(self.headers["Content-Length"])).decode())
        self.send_response(200)
        self.send_header("Content-Length", str(len(ROLE)))
        self.end_headers()
        self.wfile.write(ROLE.encode())

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def role(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Use a profile with a role and MFA; yield the home folder."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Sts)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    Sts.requests.clear()
    (tmp_path / "config").write_text(PROFILES)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setenv("AWS_PROFILE", "work")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    yield tmp_path
    server.shutdown()
    server.server_close()


def test_a_profile_with_mfa_asks_once_for_all_commands(role: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each command is a process with its own session; the AWS CLI reads the same files."""
    asked: list[str] = []
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(isatty=lambda: True))
    monkeypatch.setattr(session.getpass, "getpass", lambda prompt: asked.append(prompt) or "123456")
    for _ in range(2):
        made = session.make_session()
        credentials = made.get_credentials()
        assert credentials is not None
        assert credentials.get_frozen_credentials().access_key == "ASIAROLE"
        assert made.region_name == "eu-west-1"
    assert asked == ["Enter MFA code for arn:aws:iam::123456789012:mfa/ada: "]
    [request] = Sts.requests
    assert "TokenCode=123456" in request
    [kept] = (role / ".aws/cli/cache").iterdir()
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600


def test_without_a_terminal_a_profile_with_mfa_is_an_error(role: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(isatty=lambda: False))
    ec2 = session.make_client(session.make_session(), "ec2")
    with pytest.raises(AWSError, match="needs an MFA code") as caught:
        api.start_instances(ec2, ["i-1"])
    assert "aws sts get-caller-identity" in (caught.value.hint or "")


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
    assert not made.core.get_config_variable("use_fips_endpoint")
    credentials = made.get_credentials()
    assert credentials is not None
    assert (credentials.access_key, credentials.token) == ("AKLAB", None)


def test_a_lab_that_does_not_answer_is_named_with_the_command_that_starts_it() -> None:
    lab = Lab(name="trial", start="sudo flambe-ans lab up --name trial")
    made = session.make_isolated_session("us-east-1", access_key="AKLAB", secret_key="s", lab=lab)
    with socket.create_server(("127.0.0.1", 0)) as server:
        closed = f"http://127.0.0.1:{server.getsockname()[1]}"
    with pytest.raises(UnclearAnswerError) as caught:
        api.describe_key_pairs(session.make_client(made, "ec2", endpoint_url=closed, attempts=1))
    assert caught.value.message == "Failed to read the key pairs: the lab trial does not answer"
    assert (caught.value.hint, caught.value.exit_code) == (lab.start, 8)
    other = session.make_isolated_session("us-east-1", access_key="AKLAB", secret_key="s")
    with pytest.raises(UnclearAnswerError) as caught:
        api.describe_key_pairs(session.make_client(other, "ec2", endpoint_url=closed, attempts=1))
    assert "check the network" in (caught.value.hint or "")
    assert caught.value.exit_code == 4


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
