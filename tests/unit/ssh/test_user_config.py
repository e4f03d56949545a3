"""The host keys that the user's OpenSSH trusts."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from flambe_ansible.errors import HostConnectionError
from flambe_ansible.ssh import processes, user_config

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHsxo1X4yYHCHZTrWWD5VdHEOzn8+tVAaHmU6J3A1q9F"


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make ssh read the test's configuration instead of the user's."""
    config, ssh = tmp_path / "config", tmp_path / "bin" / "ssh"
    ssh.parent.mkdir()
    ssh.write_text(f'#!/bin/sh\nPATH=/usr/local/bin:/usr/bin:/bin exec ssh -F "{config}" "$@"\n')
    ssh.chmod(0o755)
    monkeypatch.setenv("PATH", f"{ssh.parent}:/usr/local/bin:/usr/bin:/bin")
    return tmp_path


@pytest.mark.parametrize("hashed", [False, True])
@pytest.mark.parametrize(
    ("name", "address", "port", "config"),
    [
        ("10.0.0.5", "10.0.0.5", 22, ""),
        ("[10.0.0.5]:2222", "10.0.0.5", 2222, ""),
        ("gpu1.example.org", "gpu1.example.org", 22, ""),
        ("the-rack", "10.0.0.5", 2222, "HostKeyAlias the-rack\n"),
    ],
)
def test_keys_are_found(own: Path, name: str, address: str, port: int, config: str, hashed: bool) -> None:
    known = own / "known_hosts"
    known.write_text(f"other {KEY[:-1]}G\n{name} {KEY} comment\n")
    if hashed:
        subprocess.run(["ssh-keygen", "-H", "-f", str(known)], check=True, capture_output=True)
        assert name not in known.read_text()
    (own / "config").write_text(f"{config}UserKnownHostsFile {own}/nothing {known}\nGlobalKnownHostsFile none\n")
    assert user_config.find_keys(address, port=port, username="me") == [KEY]
    assert user_config.find_keys("10.9.9.9" if not config else address, port=port, username="me") == (
        [KEY] if config else []
    )


def test_the_files_and_the_alias_that_ssh_reports() -> None:
    settings = "user me\nuserknownhostsfile ~/.ssh/known_hosts /a/b\nglobalknownhostsfile /dev/null\n"
    assert user_config.parse_settings(settings) == ([Path("~/.ssh/known_hosts").expanduser(), Path("/a/b")], "")
    assert user_config.parse_settings("hostkeyalias x\nuserknownhostsfile none\n") == ([], "x")


def test_a_revoked_key_is_not_trusted(own: Path) -> None:
    other = KEY[:-1] + "G"
    (own / "one").write_text(f"10.0.0.5 {KEY}\n10.0.0.5 {other}\n")
    (own / "two").write_text(f"@revoked * {KEY}\n")
    (own / "config").write_text(f"UserKnownHostsFile {own}/one {own}/two\nGlobalKnownHostsFile none\n")
    assert user_config.find_keys("10.0.0.5", port=22, username="me") == [other, f"@revoked {KEY}"]
    assert user_config.find_keys("10.0.0.6", port=22, username="me") == [f"@revoked {KEY}"]


def test_a_tool_that_hangs_is_a_typed_error(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (own / "known").write_text(f"10.0.0.5 {KEY}\n")
    (own / "config").write_text(f"UserKnownHostsFile {own}/known\nGlobalKnownHostsFile none\n")
    (own / "bin" / "ssh").write_text("#!/bin/sh\nexec sleep 60\n")
    monkeypatch.setattr(processes, "TOOL_TIMEOUT", 0.5)
    with pytest.raises(HostConnectionError, match=r"10\.0\.0\.5: ssh -G took longer than 0\.5 s") as caught:
        user_config.find_keys("10.0.0.5", port=22, username="me")
    assert caught.value.host == "10.0.0.5"
