"""Connections that are opened before it is known whether their hosts still exist."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from flambe_ansible.errors import HostError
from flambe_ansible.hosts import Host, Role
from flambe_ansible.ssh import Connections, Patience, known_hosts, waiting
from flambe_ansible.ssh.masters import ConnectFailedError, Diagnosis, Failure, Master
from tests.unit.fleet.test_access import MINE, OTHER

ONE, TWO = (
    Host(name=f"c_factory_{n}", role=Role.FACTORY, index=n, address=f"10.0.0.{n}", instance_id=f"i-{n}") for n in (1, 2)
)


@dataclass
class Opened:
    """What was opened, and what is open; the attempts to reach ``silent`` addresses last until they are ended."""

    attempts: list[str] = field(default_factory=list)
    open: set[Master] = field(default_factory=set)
    banners: list[str] = field(default_factory=list)
    silent: str = ""
    ended: threading.Event = field(default_factory=threading.Event)

    def start(self, master: Master, *, timeout: float) -> None:
        self.attempts.append(master.target.address)
        if master.target.address == self.silent and not self.ended.is_set():
            self.ended.wait(timeout)
            raise ConnectFailedError(Diagnosis(failure=Failure.UNREACHABLE, message="no answer"))
        self.open.add(master)


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> Opened:
    made = Opened()
    monkeypatch.setattr(Master, "open", lambda master, *, timeout: made.start(master, timeout=timeout))
    monkeypatch.setattr(Master, "alive", property(lambda master: master in made.open))
    monkeypatch.setattr(Master, "kill", lambda master: made.open.discard(master))
    monkeypatch.setattr(Master, "interrupt", lambda master: made.ended.set() if master not in made.open else None)
    monkeypatch.setattr(Master, "close", lambda master, patience: made.open.discard(master))
    monkeypatch.setattr(waiting, "wait_for_banner", lambda host, *_args, **_options: made.banners.append(host))
    return made


@pytest.fixture
def connections(tmp_path: Path, opened: Opened) -> Iterator[Connections]:
    known = tmp_path / "known_hosts"
    known_hosts.replace_each(known, {ONE.key_alias: [MINE], TWO.key_alias: [MINE]})
    with Connections(username="me", key=tmp_path / "key", known_hosts=known, proxy_jump="none") as made:
        yield made
    assert not opened.open


def open_early(connections: Connections, *hosts: Host) -> None:
    """Connect early, and wait for the end of the attempts."""
    connections.connect_early(hosts)
    for early in connections._early.values():
        early._thread.join(10)


def test_an_early_connection_is_the_only_one(connections: Connections, opened: Opened) -> None:
    open_early(connections, ONE, TWO)
    connections.wait([ONE, TWO])
    assert sorted(opened.attempts) == [ONE.address, TWO.address]
    assert opened.banners == []  # nothing is asked twice
    assert {master.target.alias for master in opened.open} == {"i-1", "i-2"}


@pytest.mark.parametrize(
    "changed", [{"address": "10.0.0.9"}, {"instance_id": "i-2"}, {"port": 2222}], ids=lambda one: "".join(one)
)
def test_a_host_that_changed_gets_a_new_connection(
    connections: Connections, opened: Opened, changed: dict[str, str]
) -> None:
    """Its name is the same, but another machine has it."""
    open_early(connections, ONE)
    now = replace(ONE, **changed)
    connections.wait([now])
    [master] = opened.open
    assert (master.target.address, master.target.alias) == (now.address, now.key_alias)
    assert (master.target.port, len(opened.attempts)) == (now.port, 2)


def test_a_connection_is_closed_if_the_trusted_key_is_replaced(connections: Connections, opened: Opened) -> None:
    open_early(connections, ONE)
    connections.trust(ONE, [OTHER])
    assert not opened.open
    connections.wait([ONE])
    assert len(opened.attempts) == 2


def test_a_host_without_a_verified_key_gets_no_early_connection(connections: Connections, opened: Opened) -> None:
    known_hosts.mark_pinned(connections.known_hosts, ONE.key_alias)
    open_early(connections, ONE, replace(TWO, instance_id="i-3"))
    assert opened.attempts == []


def test_a_silent_host_fails_as_without_the_early_attempt(
    connections: Connections, opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(host: str, *_args: object, **_options: object) -> None:
        raise HostError("no SSH", host=host)

    monkeypatch.setattr(waiting, "wait_for_banner", refuse)
    opened.silent = ONE.address
    connections.connect_early([ONE])
    errors = connections.wait_each([ONE], patience=lambda _host: Patience(seconds=60))
    assert str(errors[ONE.name]) == "no SSH"
    assert not opened.ended.is_set()  # closing the connections ends the attempt
    connections.close()
    assert opened.ended.is_set()


def test_a_failed_attempt_is_repeated(connections: Connections, opened: Opened) -> None:
    opened.silent = ONE.address
    connections.connect_early([ONE])
    opened.ended.set()
    connections.wait([ONE])
    assert opened.attempts == [ONE.address] * len(opened.attempts)
    assert opened.banners in ([], [ONE.name])
    assert len(opened.open) == 1


def test_connections_of_another_object_are_adopted(connections: Connections, opened: Opened, tmp_path: Path) -> None:
    """They are used if they lead to the same host with the same user, and closed else."""
    same = Connections(username="me", key=tmp_path / "key", known_hosts=connections.known_hosts, proxy_jump="none")
    open_early(same, ONE, TWO)
    connections.adopt(same)
    connections.connect_early([ONE, TWO])  # no second attempt
    now = replace(TWO, address="10.0.0.9")
    connections.wait([ONE, now])
    assert sorted(opened.attempts) == [ONE.address, TWO.address, now.address]
    assert {master.target.address for master in opened.open} == {ONE.address, now.address}
    connections.close()
    same.close()
    assert opened.open == set()


def test_connections_of_another_user_are_not_used(connections: Connections, opened: Opened, tmp_path: Path) -> None:
    other = Connections(username="you", key=tmp_path / "key", known_hosts=connections.known_hosts, proxy_jump="none")
    open_early(other, ONE)
    connections.adopt(other)
    connections.wait([ONE])
    assert [master.target.username for master in opened.open] == ["me"]


def test_nothing_is_adopted_beside_open_connections(connections: Connections, opened: Opened, tmp_path: Path) -> None:
    connections.wait([TWO])
    other = Connections(username="me", key=tmp_path / "key", known_hosts=connections.known_hosts, proxy_jump="none")
    open_early(other, ONE)
    connections.adopt(other)
    assert {master.target.address for master in opened.open} == {TWO.address}
