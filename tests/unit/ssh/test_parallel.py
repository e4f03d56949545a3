"""The same function runs on all hosts at once."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from flambe_ansible.errors import UnsupportedHostError
from flambe_ansible.hosts import Host, Role
from flambe_ansible.ssh import on_each
from flambe_ansible.ssh.parallel import together

HOSTS = [Host(name=f"c_factory_{index}", role=Role.FACTORY, index=index) for index in range(5)]


def test_hosts_run_in_parallel_and_results_are_in_order() -> None:
    together = threading.Barrier(len(HOSTS), timeout=120)

    def work(host: Host) -> int:
        together.wait()
        return host.index

    assert list(on_each(HOSTS, work).items()) == [(host.name, host.index) for host in HOSTS]


def test_no_hosts() -> None:
    assert on_each([], lambda host: host) == {}


def test_every_refusal_is_reported() -> None:
    def work(host: Host) -> None:
        if host.index in (1, 3):
            raise UnsupportedHostError(f"{host.name}: no rsync", host=host.name)

    with pytest.raises(UnsupportedHostError) as caught:
        on_each(HOSTS, work)
    assert caught.value.message == "c_factory_1: no rsync\nc_factory_3: no rsync"
    assert str(caught.value) == caught.value.message
    assert caught.value.host == "c_factory_1"


def test_different_functions_run_at_once() -> None:
    meeting = threading.Barrier(3, timeout=120)
    assert together(meeting.wait, lambda: meeting.wait() and 0, lambda: meeting.wait() and 0)[1:] == [0, 0]


@pytest.mark.parametrize("number", [0, 1])
def test_the_error_of_one_function_is_raised(number: int) -> None:
    works = [lambda: 1, lambda: 2]
    works[number] = lambda: 1 // 0
    with pytest.raises(ZeroDivisionError):
        together(*works)


def test_an_interrupt_does_not_wait_for_the_others() -> None:
    silent = threading.Event()

    def interrupt() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        together(interrupt, lambda: silent.wait(60))
    assert not silent.is_set()
    silent.set()


def test_an_interrupt_while_calls_are_being_started_cancels_them(monkeypatch: pytest.MonkeyPatch) -> None:
    ended, submit = threading.Event(), ThreadPoolExecutor.submit

    def interrupt(pool: ThreadPoolExecutor, work: Any, host: Host) -> Any:
        if host is HOSTS[1]:
            raise KeyboardInterrupt
        return submit(pool, work, host)

    monkeypatch.setattr(ThreadPoolExecutor, "submit", interrupt)
    with pytest.raises(KeyboardInterrupt):
        on_each(HOSTS, lambda _host: ended.wait(5), cancel=ended.set)
    assert ended.is_set()
