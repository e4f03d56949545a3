"""A launch under faults of the API is *up* or *failed clean*, whatever the fault and the call."""

from __future__ import annotations

import pytest

from flambe_ansible.ec2 import alarms
from tests.drills import schedules
from tests.drills.schedules import CHANGES, READS, Schedule, list_fixed, make_random
from tests.drills.world import LATE_SECONDS, World

SEEDS = range(200)
FIXED = list(list_fixed())


def sample(index: int, step: int) -> tuple[pytest.MarkDecorator, ...]:
    """Mark all but every ``step``-th as long."""
    return () if index % step == 0 else (pytest.mark.long,)


@pytest.mark.parametrize("factories", [1, 4])
def test_without_a_fault_the_cluster_is_up_and_then_gone(
    world: World, factories: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.reset(factories)
    done = world.launch()
    assert (done.code, world.find_problems(hosts=1 + factories)) == (0, []), done.output
    assert set(world.gate.changes) <= set(CHANGES)
    for seconds, changes in ((alarms.KEPT_SECONDS, set()), (-1, {"PutMetricAlarm", "DeleteAlarms"})):
        monkeypatch.setattr(alarms, "KEPT_SECONDS", seconds)
        again = world.launch()
        assert (again.code, world.find_problems(hosts=1 + factories)) == (0, []), again.output
        assert set(world.gate.changes) == changes
    done = world.down()
    assert (done.code, world.find_problems(hosts=0)) == (0, []), done.output
    called = {operation for _, operation in world.served.calls()}
    assert called <= {*CHANGES, *READS}, "the drills cover all calls"


@pytest.mark.parametrize(
    "schedule", [pytest.param(one, id=str(one), marks=sample(index, 14)) for index, one in enumerate(FIXED)]
)
def test_each_fault_at_each_call(world: World, schedule: Schedule, record_property: object) -> None:
    record_property("outcome", schedules.run(world, schedule))  # type: ignore[operator]


def test_hosts_that_are_shown_late_are_waited_for(world: World) -> None:
    late = {"kind": "late-visibility", "call": "RunInstances", "seconds": LATE_SECONDS}
    assert schedules.run(world, Schedule(4, (late,))) == "up"


@pytest.mark.parametrize("seed", [pytest.param(one, marks=sample(one, 20)) for one in SEEDS])
def test_random_faults(world: World, seed: int, record_property: object) -> None:
    """Repeat one with: pytest -m '' 'tests/drills/test_faults.py::test_random_faults[17]'."""
    record_property("outcome", schedules.run(world, make_random(seed)))  # type: ignore[operator]
