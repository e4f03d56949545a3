"""Parsing of addresses and public keys."""

from __future__ import annotations

import pytest

from flambe_ansible.validation.addresses import Address, AddressError, known_hosts_name, parse_address, parse_jump
from flambe_ansible.validation.ssh_rules import read_keys

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHsxo1X4yYHCHZTrWWD5VdHEOzn8+tVAaHmU6J3A1q9F"


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("10.0.0.5", "10.0.0.5", None),
        ("10.0.0.5:2222", "10.0.0.5", 2222),
        ("fd00::5", "fd00::5", None),
        ("FD00:0::5", "fd00::5", None),
        ("[fd00::5]", "fd00::5", None),
        ("[fd00::5]:2222", "fd00::5", 2222),
        ("GPU1", "gpu1", None),
        ("gpu_1.example.org:22", "gpu_1.example.org", 22),
        ("127.0.0.1:2200", "127.0.0.1", 2200),
    ],
)
def test_valid_addresses(text: str, host: str, port: int | None) -> None:
    assert parse_address(text) == Address(host, port)


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            " ",
            "10.0.0",
            "10.0.0.256",
            "a..b",
            "-a",
            "a b",
            "a;b",
            "$(a)",
            "a/b",
            "::",
            "224.0.0.1",
            "fd00::5%eth0",
        ),
        *(
            "10.0.0.5:",
            "10.0.0.5:0",
            "10.0.0.5:65536",
            "10.0.0.5:1e3",
            "[fd00::5",
            "[a]:22",
            "a:b:c",
            "me@a",
            "x" * 300,
        ),
    ],
)
def test_invalid_addresses(text: str) -> None:
    with pytest.raises(AddressError):
        parse_address(text)


def test_jumps() -> None:
    assert parse_jump("me@a:2222, ssh://b,c") == [Address("a", 2222), Address("b"), Address("c")]
    for text in ("", "a,,b", "-oProxyCommand=x", "a b", "me@"):
        with pytest.raises(AddressError):
            parse_jump(text)


def test_names_in_known_hosts() -> None:
    assert known_hosts_name("10.0.0.5", 22) == "10.0.0.5"
    assert known_hosts_name("fd00::5", 2222) == "[fd00::5]:2222"


@pytest.mark.parametrize(
    "text",
    [
        KEY,
        f"{KEY} root@host",
        f"10.0.0.5 {KEY}",
        f"# 10.0.0.5:22 SSH-2.0\n[10.0.0.5]:2222 {KEY}\n\n",
        [KEY],
        [f"{KEY} a b"],
    ],
)
def test_notations_of_public_keys(text: str | list[str]) -> None:
    assert read_keys(text) == [KEY]


@pytest.mark.parametrize("text", ["x", "ssh-ed25519", "ssh-ed25519 !", f"ssh-rsa {KEY.split()[1]}", "-----BEGIN"])
def test_invalid_public_keys(text: str) -> None:
    with pytest.raises(ValueError, match="not a public key"):
        read_keys(text)
