"""A process that is killed at any place leaves a cluster that ``launch`` completes and ``down`` removes."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

from flambe_ansible.ec2 import alarms
from tests.drills.stages import MOMENTS, SIGNALS, STAGES, Plan
from tests.drills.world import World, show_late

CALLS = {1: 9, 4: 16}  # calls that change something in a launch, by the number of factories
DOWN_CALLS = 4


def list_plans() -> Iterator[tuple[int, Plan]]:
    """List the places: before, during and after each call that changes something, and at each stage."""
    for sent in SIGNALS:
        for moment in MOMENTS:
            yield from ((1, Plan(call=call, moment=moment, signal=sent)) for call in range(1, CALLS[1] + 1))
        yield from ((1, Plan(stage=stage, signal=sent)) for stage in STAGES)
    for moment in MOMENTS:
        yield from ((4, Plan(call=call, moment=moment)) for call in range(1, CALLS[4] + 1))
    for sent in (signal.SIGINT, signal.SIGTERM):
        yield from ((4, Plan(call=call, moment="during", signal=sent)) for call in range(1, CALLS[4] + 1))
    yield from ((4, Plan(stage=stage)) for stage in STAGES)


PLANS = [
    pytest.param(factories, plan, id=f"{factories}-{plan}", marks=() if index % 17 == 0 else (pytest.mark.long,))
    for index, (factories, plan) in enumerate(list_plans())
]
DOWN_PLANS = [
    pytest.param(plan, id=str(plan), marks=() if index % 12 == 0 else (pytest.mark.long,))
    for index, plan in enumerate(
        Plan(call=call, moment=moment, signal=sent)
        for sent in SIGNALS
        for moment in MOMENTS
        for call in range(1, DOWN_CALLS + 1)
    )
]


def kill_launch(world: World, factories: int, plan: Plan) -> str:
    """Launch, and kill the process at its place; return its output."""
    world.reset(factories)
    done = world.launch(on_failure="keep", plan=plan)
    # Python can lose a signal that arrives while an object is finalized; the launch then goes on.
    expected = {-plan.signal} if plan.signal == signal.SIGKILL else {130, 0} if plan.moment == "during" else {130}
    assert done.code in expected, f"{plan}: exit code {done.code}\n{done.output}"
    assert not done.check_manners() and not world.find_problems(hosts=None), done.output
    return done.output


@pytest.mark.parametrize(("factories", "plan"), PLANS)
def test_launch_completes_what_was_killed(world: World, factories: int, plan: Plan) -> None:
    before = kill_launch(world, factories, plan)
    done = world.launch(on_failure="keep")
    problems = world.find_problems(hosts=1 + factories)
    assert (done.code, problems) == (0, []), f"{plan}\n--- killed\n{before}\n--- launch\n{done.output}"


@pytest.mark.parametrize(("factories", "plan"), PLANS)
def test_down_removes_what_was_killed(world: World, factories: int, plan: Plan) -> None:
    before = kill_launch(world, factories, plan)
    done = world.down()
    assert (done.code, world.find_problems(hosts=0)) == (0, []), (
        f"{plan}\n--- killed\n{before}\n--- down\n{done.output}"
    )


@pytest.mark.parametrize("call", [6, *(pytest.param(one, marks=pytest.mark.long) for one in (1, 2, 3, 4, 5, 7, 8, 9))])
@pytest.mark.parametrize("moment", MOMENTS)
def test_a_cancelled_launch_terminates_its_hosts(world: World, call: int, moment: str) -> None:
    """Also the hosts of a request that was cancelled before its answer."""
    world.reset(1)
    done = world.launch(on_failure="terminate", plan=Plan(call=call, moment=moment, signal=signal.SIGINT))
    assert done.code == 130 and not done.check_manners(), done.output
    assert not world.live(), done.output
    undone = world.down()
    assert (undone.code, world.find_problems(hosts=0)) == (0, []), undone.output


@pytest.mark.parametrize("call", [1, 2, 3])
def test_a_relaunch_that_is_killed_leaves_no_host_without_an_alarm(
    world: World, call: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.reset(1)
    assert world.launch().code == 0
    monkeypatch.setattr(alarms, "KEPT_SECONDS", -1)  # as an hour later
    assert world.launch(plan=Plan(call=call, moment="after")).code == -signal.SIGKILL
    assert world.find_problems(hosts=2) == []


def test_the_host_of_a_request_without_an_answer_is_not_created_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """EC2 does not show it yet when the next launch begins."""
    show_late(world, monkeypatch)
    assert world.launch(plan=Plan(call=6, moment="during")).code == -signal.SIGKILL
    done = world.launch(on_failure="keep")
    assert (done.code, world.find_problems(hosts=2)) == (0, []), done.output


@pytest.mark.parametrize("plan", DOWN_PLANS)
def test_down_completes_what_was_killed(world: World, plan: Plan) -> None:
    world.reset(1)
    assert world.launch().code == 0
    world.down(plan=plan)
    assert not world.find_problems(hosts=None)
    done = world.down()
    assert (done.code, world.find_problems(hosts=0)) == (0, []), f"{plan}\n{done.output}"
