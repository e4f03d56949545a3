"""Two launches of one cluster at the same time: one of them creates it."""

from __future__ import annotations

import random
import time
from pathlib import Path
from typing import Any

import pytest

from tests.drills import stages
from tests.drills.world import Done, World

PAIRS = 50


def start_two(world: World, states: list[Path], pause: float) -> list[Done]:
    started = []
    for state in states:
        started.append(world.start("launch", str(world.file), "--yes", "--on-failure", "keep", state=state))
        time.sleep(pause)
    return [world.wait(child, output) for child, output in started]


@pytest.mark.parametrize(
    "pair", [pytest.param(one, marks=() if one % 10 == 0 else pytest.mark.long) for one in range(PAIRS)]
)
@pytest.mark.parametrize("machines", [1, 2], ids=["one-machine", "two-machines"])
def test_two_launches_at_once_create_one_cluster(
    world: World, machines: int, pair: int, monkeypatch: pytest.MonkeyPatch, record_property: Any
) -> None:
    """The second one starts up to half a second later; it is refused, or finds the cluster complete."""
    monkeypatch.setattr(stages, "CHECK_KEYS", True)
    monkeypatch.setattr(stages, "PLAY_SECONDS", 0.5)
    world.reset(1)
    states = [world.state, world.state if machines == 1 else world.folder / "other-state"]
    dones = start_two(world, states, random.Random(pair).uniform(0, 0.5))
    text = "\n---\n".join(f"exit code {one.code}\n{one.output}" for one in dones)
    record_property("codes", sorted(one.code for one in dones))
    created = [
        state for state, one in zip(states, dones, strict=True) if "created: factory 0, orchestrator" in one.output
    ]
    assert len(created) == 1, text
    assert all(one.code or "created:" in one.output or "No changes" in one.output for one in dones), text
    assert [one.check_manners() for one in dones] == [[], []], text
    assert world.find_problems(hosts=2) == [], text
    child, output = world.start("down", str(world.file), "--yes", state=created[0])
    done = world.wait(child, output)
    assert (done.code, world.find_problems(hosts=0)) == (0, []), done.output
