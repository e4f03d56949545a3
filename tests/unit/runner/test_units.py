"""Units of systemd, as the commands of flambe-run read them."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import controlling
import pytest
import refreshing
import units


def test_a_head_between_two_starts_is_awaited(monkeypatch: pytest.MonkeyPatch) -> None:
    states: list[dict[str, Any]] = [{"ActiveState": "failed", "Job": "7"}, {"ActiveState": "active", "Job": "0"}]
    monkeypatch.setattr(units, "show", lambda unit: states.pop(0))
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    assert refreshing._await_head("ray.service") == ""
    monkeypatch.setattr(units, "show", lambda unit: {"ActiveState": "failed", "Job": ""})
    assert refreshing._await_head("ray.service") == "ray.service is failed"


@pytest.mark.parametrize(
    ("state", "ended"),
    [
        ({"ActiveState": "failed"}, True),
        ({"ActiveState": "failed", "Job": "7"}, False),
        ({"ActiveState": "deactivating"}, False),
        ({"ActiveState": "active"}, False),
        ({}, True),
    ],
)
def test_a_unit_with_a_job_has_not_ended(state: dict[str, str], ended: bool) -> None:
    assert units.has_ended(state) is ended


@pytest.mark.parametrize(
    ("unit", "active", "settling", "state"),
    [
        ({"ActiveState": "active"}, True, False, "running"),
        ({"ActiveState": "deactivating"}, False, True, "running"),  # killed; its end is not recorded yet
        ({"ActiveState": "failed", "Job": "7"}, False, True, "running"),
        ({"ActiveState": "failed"}, False, False, "failed"),
    ],
)
def test_a_job_whose_unit_is_ending_is_waited_for(
    make_settings: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
    unit: dict[str, str],
    active: bool,
    settling: bool,
    state: str,
) -> None:
    settings = make_settings()
    settings.save("state", {"state": "running"})
    monkeypatch.setattr(units, "show", lambda _unit: unit)
    found = controlling.describe(settings)
    assert (found["active"], found["settling"], found["state"]) == (active, settling, state)
