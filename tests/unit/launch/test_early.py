"""The verification of hosts while a launch asks the provider."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest

from flambe_ansible.errors import HostConnectionError, HostError
from flambe_ansible.hosts import HostState
from flambe_ansible.launch.early import EarlyVerification, is_complete
from tests.unit.cli.made_up import HOSTS

HEAD, ONE, *_ = RUNNING = [replace(host, state=HostState.RUNNING) for host in HOSTS]
ONCE = {host.name: "verify(1)" for host in RUNNING}


def test_it_covers_the_same_hosts_and_programs_alone() -> None:
    found = EarlyVerification(RUNNING, ONCE, dict)
    assert found.covers(RUNNING, ONCE)
    assert not found.covers(RUNNING, {**ONCE, ONE.name: "verify(2)"})
    assert not found.covers(RUNNING, {})
    assert not found.covers(RUNNING[:-1], ONCE)
    assert not found.covers([HEAD, replace(ONE, private_ip="10.9.9.9"), *RUNNING[2:]], ONCE)


def test_a_host_that_fails_is_verified_again() -> None:
    def lose() -> Mapping[str, HostError]:
        raise HostConnectionError("lost", host=ONE.name)

    error = HostConnectionError("lost", host=ONE.name)
    for verify in (lose, lambda: {ONE.name: error}):
        assert not EarlyVerification(RUNNING, ONCE, verify).covers(RUNNING, ONCE)


@pytest.mark.parametrize("state", [one for one in HostState if one is not HostState.RUNNING])
def test_only_running_hosts_are_complete(state: HostState) -> None:
    factories = len(RUNNING) - 1
    assert is_complete(RUNNING, factories=factories)
    assert not is_complete([*RUNNING[:-1], replace(RUNNING[-1], state=state)], factories=factories)


def test_hosts_to_add_or_to_remove_are_not_complete() -> None:
    factories = len(RUNNING) - 1
    assert not is_complete(RUNNING, factories=factories + 1)
    assert not is_complete(RUNNING, factories=factories - 1)
    assert not is_complete(RUNNING[1:], factories=factories)
    assert not is_complete([], factories=0)
