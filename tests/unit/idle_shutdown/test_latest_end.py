"""A host with a latest end powers itself off then, also if it is busy or kept."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from flambe_idle_shutdown import marking, states

from .test_checking import check, has_ended

START = 1_000_000.0
BUSY = {"sshd: ann@pts/0": 1000.0}


@pytest.fixture
def settings(make_settings: Callable[..., Any]) -> Any:
    return make_settings(timeout=-1, ends_at=states.write_time(START + 3600))


def test_a_busy_host_ends_at_that_time(host: SimpleNamespace, settings: Any) -> None:
    host.titles = BUSY
    state = check(host, settings, after=3590)
    assert (state["ends"], state["latest_end"]) == (states.write_time(START + 3600), states.write_time(START + 3600))
    assert not has_ended(host)
    check(host, settings, after=10)
    assert has_ended(host)


def test_keep_does_not_postpone_it(host: SimpleNamespace, make_settings: Callable[..., Any]) -> None:
    settings = make_settings(ends_at=states.write_time(START + 600))
    check(host, settings)
    check(host, settings)
    assert states.publish(marking.keep(settings, 7200))["ends"] == states.write_time(START + 600)
    check(host, settings, after=480)
    assert has_ended(host)


def test_an_idle_host_ends_at_its_own_time_before(host: SimpleNamespace, make_settings: Callable[..., Any]) -> None:
    settings = make_settings(ends_at=states.write_time(START + 36_000))
    check(host, settings)
    assert check(host, settings)["ends"] == states.write_time(host.now + 300)
    check(host, settings, after=300)
    assert has_ended(host)


def test_a_host_that_is_started_later_waits_for_the_launch(host: SimpleNamespace, settings: Any) -> None:
    check(host, settings)
    host.boot, host.clock = "boot-2", 0.0
    host.now = host.started = START + 10_000
    check(host, settings)
    check(host, settings, after=800)
    assert not has_ended(host)
    check(host, settings, after=100)
    assert has_ended(host)


def test_an_idle_host_that_is_started_later_waits_too(host: SimpleNamespace, make_settings: Callable[..., Any]) -> None:
    host.started = START
    settings = make_settings(timeout=3600, ends_at=states.write_time(START - 1))
    for _minute in range(5):
        check(host, settings)
    assert not has_ended(host)


def test_a_state_of_an_earlier_version_is_read(host: SimpleNamespace, settings: Any) -> None:
    host.titles = BUSY
    check(host, settings)
    path = Path(states._path(settings))
    document = json.loads(path.read_text())
    del document["ends_at"]
    path.write_text(json.dumps(document))
    assert states.load(settings)
    check(host, settings, after=3600)
    assert has_ended(host)


def test_a_host_that_was_not_checked_before_ends_too(host: SimpleNamespace, settings: Any) -> None:
    host.now = START + 3601
    check(host, settings)
    assert has_ended(host)


def test_the_start_of_this_machine() -> None:
    [started] = {
        int(line.split()[1]) for line in Path("/proc/stat").read_text().splitlines() if line.startswith("btime")
    }
    assert states.read_start() == pytest.approx(started + states._read_first_tick() / 100, abs=5)
