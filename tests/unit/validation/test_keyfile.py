"""Private keys that ssh cannot use are refused before any host is created."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from flambe_ansible.errors import ClusterConfigurationError
from flambe_ansible.validation import AWS_CLUSTER, check_arguments, keyfile
from tests.unit.keys import private_key, write_key

PASSPHRASE = "hunter2-planted"
KEY = private_key()
UNUSABLE = {
    "Windows line ends": (KEY.replace("\n", "\r\n"), "has Windows line ends (CRLF); expected Unix line ends: sed -i "),
    "cut off": ("\n".join(KEY.splitlines()[:-2]) + "\n", "is incomplete: the -----END line is missing"),
    "no last line break": (KEY.rstrip("\n"), "has no line break after its last line; expected a line break at the end"),
    "damaged": (KEY.replace(KEY.splitlines()[1], "A" * 70), "which ssh-keygen cannot read: "),
    "passphrase": (
        private_key(passphrase=PASSPHRASE),
        'ssh-agent does not have this key; expected the key in the agent: eval "$(ssh-agent)" && ssh-add ',
    ),
    "passphrase, PEM": (
        private_key("ecdsa", passphrase=PASSPHRASE, file_format="PEM"),
        "needs a passphrase, and ssh-agent needs ",
    ),
}


@pytest.fixture(autouse=True)
def _no_agent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)


@pytest.fixture
def agent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Start an ssh-agent without keys."""
    socket = tmp_path / "agent"
    process = subprocess.Popen(["ssh-agent", "-D", "-a", str(socket)], stdout=subprocess.DEVNULL)
    try:
        while not socket.exists():
            time.sleep(0.01)
        monkeypatch.setenv("SSH_AUTH_SOCK", str(socket))
        yield
    finally:
        process.terminate()
        process.wait(10)


def add_to_agent(path: Path, folder: Path) -> None:
    """Add a key with a passphrase; ssh-add reads it from this script."""
    script = folder / "askpass"
    script.write_text(f"#!/bin/sh\necho {PASSPHRASE}\n")
    script.chmod(0o700)
    environment = {**os.environ, "SSH_ASKPASS": str(script), "SSH_ASKPASS_REQUIRE": "force"}
    subprocess.run(["ssh-add", "-q", str(path)], env=environment, check=True, timeout=30)


@pytest.mark.parametrize("case", UNUSABLE)
def test_an_unusable_key_is_refused(tmp_path: Path, case: str) -> None:
    content, message = UNUSABLE[case]
    path = write_key(tmp_path / "my key", content)
    with pytest.raises(ClusterConfigurationError) as caught:
        check_arguments(AWS_CLUSTER, {"key": str(path)})
    assert caught.value.exit_code == 3
    text = str(caught.value)
    assert text.startswith(f"AWSCluster: key is {path}, which ")
    assert message in text
    assert "\n" not in text
    assert not any(line in text for line in content.split()[1:-1] if len(line) > 20)
    if "passphrase" in case:
        assert f"ssh-add '{path}'" in text


@pytest.mark.parametrize("arguments", [("ed25519",), ("ecdsa",)])
@pytest.mark.parametrize("file_format", ["RFC4716", "PEM", "PKCS8"])
def test_a_usable_key_is_accepted(tmp_path: Path, arguments: tuple[str], file_format: str) -> None:
    path = write_key(tmp_path / "key", private_key(*arguments, file_format=file_format))
    assert keyfile.private_key(path) == []


@pytest.mark.parametrize("file_format", ["RFC4716", "PEM"])
def test_a_key_with_a_passphrase_is_accepted_if_the_agent_has_it(tmp_path: Path, agent: None, file_format: str) -> None:
    path = write_key(tmp_path / "key", private_key("ecdsa", passphrase=PASSPHRASE, file_format=file_format))
    argv = ["ssh-keygen", "-y", "-P", PASSPHRASE, "-f", str(path)]
    public = subprocess.run(argv, capture_output=True, text=True, check=True).stdout
    if file_format == "PEM":  # an OpenSSH key file contains its public key
        (tmp_path / "key.pub").write_text(public)
    assert "ssh-agent does not have this key" in keyfile.private_key(path)[0].message
    add_to_agent(write_key(tmp_path / "other", private_key(passphrase=PASSPHRASE)), tmp_path)
    assert "ssh-agent does not have this key" in keyfile.private_key(path)[0].message
    add_to_agent(path, tmp_path)
    assert keyfile.private_key(path) == []


def test_without_ssh_keygen_the_content_is_not_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_key(tmp_path / "key", UNUSABLE["cut off"][0])
    monkeypatch.setenv("PATH", str(tmp_path))
    assert keyfile.private_key(path) == []


def test_a_corrected_key_is_read_again(tmp_path: Path) -> None:
    path = write_key(tmp_path / "key", UNUSABLE["Windows line ends"][0])
    assert keyfile.private_key(path)
    assert keyfile.private_key(write_key(path)) == []


def test_the_check_is_fast_and_runs_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_key(tmp_path / "key")
    started = time.perf_counter()
    assert keyfile.private_key(path) == []
    assert time.perf_counter() - started < 1  # a few milliseconds; the limit only detects a program that waits
    monkeypatch.setattr(keyfile.subprocess, "run", None)
    assert keyfile.private_key(path) == []
