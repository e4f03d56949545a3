"""Hosts that are simulated, and whose verification finds no difference."""

from __future__ import annotations

import pytest

from tests.unit.scale.simulation import HOLDS, Simulation


@pytest.fixture
def simulation(monkeypatch: pytest.MonkeyPatch) -> Simulation:
    found = Simulation(answer=HOLDS)
    found.install(monkeypatch)
    return found
