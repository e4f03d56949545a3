"""One account for the drills of a module."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.drills.world import World, open_world
from tests.unit.conftest import _loopback_only


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with open_world(tmp_path_factory.mktemp("drills")) as opened:
        yield opened


__all__ = ["_loopback_only", "world"]
