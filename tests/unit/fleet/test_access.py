"""Host keys: those of the provider, and those that were accepted at the first connection."""

from __future__ import annotations

import base64
import time
from pathlib import Path
from typing import Any

import pytest

from flambe_ansible.errors import HostKeyError
from flambe_ansible.events import ignore
from flambe_ansible.fleet.access import Access, AccessPolicy, Limits
from flambe_ansible.hosts import Host, Role
from flambe_ansible.ssh import Connections, known_hosts

ONE, TWO = (Host(name=f"c_factory_{index}", role=Role.FACTORY, index=index, address="::1") for index in range(2))


def make_key(text: str) -> str:
    parts = [b"ssh-ed25519", text.encode().ljust(32)]
    blob = b"".join(len(part).to_bytes(4, "big") + part for part in parts)
    return f"ssh-ed25519 {base64.b64encode(blob).decode()}"


MINE, OTHER, RSA = make_key("mine"), make_key("other"), make_key("rsa")


class Console:
    """The provider: it shows these keys, and counts the questions."""

    def __init__(self, *keys: str) -> None:
        self.keys = list(keys)
        self.asked: list[str] = []

    def find(self, host: Host) -> list[str] | None:
        self.asked.append(host.name)
        return self.keys or None


def make_access(tmp_path: Path, console: Console, **policy: Any) -> Access:
    connections = Connections(username="me", key=tmp_path / "key", known_hosts=tmp_path / "known_hosts")
    return Access(connections, AccessPolicy(**policy), find_keys=console.find, jump_keys=dict)


def pin(access: Access, host: Host, key: str) -> None:
    """Accept a key at the first connection, as ssh does."""
    with access.known_hosts.open("a") as file:
        file.write(f"{host.key_alias} {key}\n")
    known_hosts.mark_pinned(access.known_hosts, host.key_alias)


def test_keys_of_the_provider_are_looked_up_once(tmp_path: Path) -> None:
    console = Console(MINE)
    access = make_access(tmp_path, console)
    access.trust([ONE])
    access.trust([ONE])
    assert (console.asked, access.connections.trusted(ONE)) == ([ONE.name], [MINE])


def test_a_pinned_key_is_looked_up_until_the_provider_shows_it(tmp_path: Path) -> None:
    console = Console()
    access = make_access(tmp_path, console)
    pin(access, ONE, MINE)
    access.trust([ONE])
    assert (access.connections.trusted(ONE), access.connections.is_pinned(ONE)) == ([MINE], True)
    console.keys = [MINE, RSA]
    access.trust([ONE])
    assert (access.connections.trusted(ONE), access.connections.is_pinned(ONE)) == ([MINE, RSA], False)
    access.trust([ONE])
    assert console.asked == [ONE.name] * 2


def test_a_pinned_key_that_the_provider_does_not_show_is_an_error_with_both_fingerprints(tmp_path: Path) -> None:
    access = make_access(tmp_path, Console(OTHER))
    pin(access, ONE, MINE)
    errors = access.open_each([ONE], patience=Limits().for_query, observer=ignore)
    [error] = errors.values()
    assert isinstance(error, HostKeyError)
    assert (error.exit_code, error.host) == (5, ONE.name)
    for key in (MINE, OTHER):
        assert known_hosts.fingerprint(key) in error.message
    assert "nothing was sent to it" in error.message
    assert str(access.known_hosts) in (error.hint or "")
    assert access.connections.trusted(ONE) == [MINE]


def test_a_configured_key_replaces_a_pinned_one(tmp_path: Path) -> None:
    access = make_access(tmp_path, Console(OTHER), configured_keys_win=True)
    pin(access, ONE, MINE)
    access.trust([ONE])
    assert access.connections.trusted(ONE) == [OTHER]


def test_a_wrong_key_of_one_host_does_not_stop_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    access = make_access(tmp_path, Console(OTHER))
    pin(access, ONE, MINE)
    connected: list[str] = []

    def connect(host: Host, **_: Any) -> None:
        connected.append(host.name)

    monkeypatch.setattr(access.connections, "_connect", connect)
    assert list(access.open_each([TWO, ONE], patience=Limits().for_query, observer=ignore)) == [ONE.name]
    assert connected == [TWO.name]
    with pytest.raises(HostKeyError):
        access.trust([ONE])


@pytest.mark.parametrize(
    ("kind", "seconds"),
    [
        ("t3.large", 300.0), ("g4dn.xlarge", 600.0), ("p4d.24xlarge", 1800.0), ("p5.48xlarge", 1800.0),
        ("g4dn.metal", 1800.0), ("m7i.metal-24xl", 1800.0), ("", 300.0),
    ],
)  # fmt: skip
def test_the_time_to_boot_depends_on_the_type(kind: str, seconds: float) -> None:
    host = Host(name="demo_factory_0", role=Role.FACTORY, instance_type=kind, started=time.time())
    assert round(Limits().for_launch(host).seconds, -1) == seconds
    assert round(Limits(boot_timeout=100).for_launch(host).seconds, -1) == 100
