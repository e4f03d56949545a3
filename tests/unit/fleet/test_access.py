"""Host keys: those of the provider, and those that were accepted at the first connection."""

from __future__ import annotations

import base64
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from flambe_ansible.errors import AWSError, HostKeyError
from flambe_ansible.events import Event, Notice, ignore
from flambe_ansible.fleet.access import Access, AccessPolicy, Limits
from flambe_ansible.hosts import Host, Role
from flambe_ansible.ssh import Connections, known_hosts, links

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
        self.late_keys: list[str] = []
        self.error: AWSError | None = None
        self.asked: list[str] = []

    def find_late(self, host: Host, stop: threading.Event) -> list[str] | None:
        self.asked.append(f"{host.name}, late")
        if self.error:
            raise self.error
        return self.late_keys or None

    def find(self, host: Host) -> list[str] | None:
        self.asked.append(host.name)
        return self.keys or None


def make_access(tmp_path: Path, console: Console, **policy: Any) -> Access:
    connections = Connections(username="me", key=tmp_path / "key", known_hosts=tmp_path / "known_hosts")
    return Access(
        connections,
        AccessPolicy(**policy),
        find_keys=console.find,
        find_late_keys=console.find_late,
        jump_keys=dict,
    )


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


@pytest.fixture
def sshd(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Replace the network by a list of what happened."""
    happened: list[str] = []

    class Master:
        alive = True

        def __init__(self, target: Any, _socket: Path) -> None:
            happened.append("accepts any key" if target.accept_new else "requires the key")

    monkeypatch.setattr(links.waiting, "wait_for_banner", lambda *_args, **_options: happened.append("sshd answers"))
    monkeypatch.setattr(links.waiting, "open_with_patience", lambda *_args, **_options: None)
    monkeypatch.setattr(links, "Master", Master)
    monkeypatch.setattr(links.routes, "find_proxy", lambda *_args, **_options: None)
    return happened


def test_keys_that_the_provider_shows_after_sshd_answers_are_required(tmp_path: Path, sshd: list[str]) -> None:
    console = Console()
    console.late_keys = [MINE]
    access = make_access(tmp_path, console)
    assert access.open_each([ONE], patience=Limits().for_query, observer=ignore) == {}
    assert console.asked == [ONE.name, f"{ONE.name}, late"]
    assert sshd == ["sshd answers", "requires the key"]
    assert (access.connections.trusted(ONE), access.connections.is_pinned(ONE)) == ([MINE], False)


def test_late_keys_are_not_looked_up_for_a_host_with_a_key(tmp_path: Path, sshd: list[str]) -> None:
    """A host that was stopped and started has none on its console: the pinned key is still required."""
    console = Console()
    access = make_access(tmp_path, console)
    pin(access, ONE, MINE)
    assert access.open_each([ONE], patience=Limits().for_query, observer=ignore) == {}
    assert console.asked == [ONE.name]
    assert sshd == ["sshd answers", "requires the key"]


def test_a_console_that_cannot_be_read_is_a_warning(tmp_path: Path, sshd: list[str]) -> None:
    console = Console()
    console.error = AWSError("a long text", operation="GetConsoleOutput", code="UnauthorizedOperation")
    access = make_access(tmp_path, console)
    events: list[Event] = []
    assert access.open_each([ONE], patience=Limits().for_query, observer=events.append) == {}
    assert sshd == ["sshd answers", "accepts any key"]
    first = next(event for event in events if isinstance(event, Notice))
    assert first.warning
    assert first.message == (
        f"{ONE.name}: its host keys are not verified: GetConsoleOutput failed with UnauthorizedOperation"
    )


def test_without_late_keys_a_strict_cluster_refuses_the_host(tmp_path: Path, sshd: list[str]) -> None:
    access = make_access(tmp_path, Console())
    access.connections.strict_host_keys = True
    [error] = access.open_each([ONE], patience=Limits().for_query, observer=ignore).values()
    assert isinstance(error, HostKeyError)
    assert sshd == ["sshd answers"]


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
