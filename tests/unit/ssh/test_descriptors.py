"""The limit of open files follows the number of connections."""

from __future__ import annotations

import resource

import pytest

from flambe_ansible.errors import HostConnectionError
from flambe_ansible.ssh import descriptors

NO_LIMIT = resource.RLIM_INFINITY


@pytest.fixture
def limits(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """Return the limits of this process, as they are set."""
    found = [(1024, 4096)]
    monkeypatch.setattr(descriptors.resource, "getrlimit", lambda _kind: found[-1])
    monkeypatch.setattr(descriptors.resource, "setrlimit", lambda _kind, limit: found.append(limit))
    return found


def test_few_connections_need_no_change(limits: list[tuple[int, int]]) -> None:
    descriptors.allow_connections(256, host="a")
    assert limits == [(1024, 4096)]


def test_the_limit_is_raised_for_many(limits: list[tuple[int, int]]) -> None:
    descriptors.allow_connections(1000, host="a")
    assert limits[1:] == [(2512, 4096)]


def test_without_a_hard_limit_it_can_always_be_raised(limits: list[tuple[int, int]]) -> None:
    limits[:] = [(1024, NO_LIMIT)]
    descriptors.allow_connections(5000, host="a")
    assert limits[1:] == [(10_512, NO_LIMIT)]
    limits[:] = [(NO_LIMIT, NO_LIMIT)]
    descriptors.allow_connections(5000, host="a")
    assert len(limits) == 1


def test_a_hard_limit_that_is_too_low_is_an_error_that_names_both_numbers(limits: list[tuple[int, int]]) -> None:
    with pytest.raises(HostConnectionError, match=r"2000 hosts need 4512 open files, .* may open only 4096") as caught:
        descriptors.allow_connections(2000, host="a")
    assert "prlimit --pid $$ --nofile=4512:4512" in (caught.value.hint or "")
    assert limits == [(1024, 4096)]
