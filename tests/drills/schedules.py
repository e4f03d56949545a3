"""Schedules of faults: fixed ones, and random ones that follow from a seed."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tests.drills.stages import STAGES, Plan
from tests.drills.world import LATE_SECONDS, Done, World

READS = (
    "DescribeImages", "DescribeRouteTables", "DescribeInstanceTypeOfferings", "DescribeInstanceTypes",
    "DescribeInstances", "DescribeKeyPairs", "DescribeSecurityGroups", "DescribeSubnets", "DescribeVolumes",
    "DescribeAlarms", "GetParameter", "GetServiceQuota", "GetAWSDefaultServiceQuota", "GetCallerIdentity",
    "GetProducts",
)  # fmt: skip
CHANGES = (
    "PutMetricAlarm", "DeleteAlarms", "CreateSecurityGroup", "AuthorizeSecurityGroupIngress", "ImportKeyPair",
    "RunInstances", "CreateTags", "TerminateInstances", "DeleteSecurityGroup", "DeleteKeyPair",
)  # fmt: skip


RANDOM_KINDS = (
    "throttling", "lost-response", "lost-response", "expired-credentials", "late-visibility", "late-visibility",
    "capacity", "partial-fill", "dies-pending",
)  # fmt: skip
# The calls of a clean-up. If one of them fails for good, the message names the command that removes the rest.
CLEANUP = {
    "TerminateInstances", "DescribeInstances", "DeleteAlarms", "DescribeAlarms", "DescribeSecurityGroups",
    "DeleteSecurityGroup", "DescribeKeyPairs", "DeleteKeyPair",
}  # fmt: skip


@dataclass(frozen=True)
class Schedule:
    """A launch with faults.

    Attributes:
        factories: How many factories the cluster has.
        faults: The faults, as arguments of ``add_fault``.
        plan: A stage that fails.
        lasting: A fault does not end, so that what a failed launch created may remain until it is cleared.
    """

    factories: int
    faults: tuple[dict[str, Any], ...]
    plan: Plan | None = None
    lasting: bool = False

    @property
    def hits_cleanup(self) -> bool:
        """Whether a clean-up can fail."""
        return self.lasting or any(fault.get("call") in CLEANUP for fault in self.faults)

    def __str__(self) -> str:
        faults = "+".join("-".join(str(value) for value in fault.values()) for fault in self.faults)
        return f"{self.factories}-{faults}" + (f"-{self.plan}" if self.plan else "")


def list_fixed() -> Iterator[Schedule]:
    """List each fault at each call that it can hit, once and without an end, for 1 + 1 and 1 + 4 hosts."""
    for factories in (1, 4):
        for call in (*READS, *CHANGES):
            for kind in ("throttling", "expired-credentials", "lost-response"):
                yield Schedule(factories, ({"kind": kind, "call": call, "times": 1},))
                yield Schedule(factories, ({"kind": kind, "call": call, "times": 1_000_000},), lasting=True)
        for kind in ("capacity", "partial-fill", "dies-pending"):
            for after in (0, 1):
                yield Schedule(factories, ({"kind": kind, "times": 1, "after": after},))
        for call in ("RunInstances", "CreateTags"):
            yield Schedule(factories, ({"kind": "late-visibility", "call": call, "seconds": LATE_SECONDS},))
        yield Schedule(factories, ({"kind": "clock-skew"},), lasting=True)
        for stage in STAGES:
            yield Schedule(factories, (), plan=Plan(stage=stage, fails=True))


def make_random(seed: int) -> Schedule:
    """Make a schedule of one to four faults, each of which ends, and perhaps a stage that fails."""
    random_ = random.Random(seed)
    faults: list[dict[str, Any]] = []
    for _ in range(random_.randint(1, 4)):
        kind = random_.choice(RANDOM_KINDS)
        fault: dict[str, Any] = {"kind": kind, "times": random_.randint(1, 6), "after": random_.randint(0, 3)}
        if kind in ("throttling", "lost-response", "expired-credentials"):
            fault["call"] = random_.choice(CHANGES if random_.random() < 0.7 else READS)
        if kind == "late-visibility":
            fault["seconds"] = round(random_.uniform(0.05, 3 * LATE_SECONDS), 2)
        faults.append(fault)
    stage = random_.choice(STAGES) if random_.random() < 0.2 else ""
    return Schedule(random_.choice((1, 4)), tuple(faults), plan=Plan(stage=stage, fails=True) if stage else None)


def run(world: World, schedule: Schedule) -> str:
    """Launch under the faults of a schedule, check the outcome, and return it.

    Without faults, ``down`` must leave nothing afterwards.
    """
    world.reset(schedule.factories)
    for fault in schedule.faults:
        world.add_fault(**fault)
    done = world.launch(on_failure="terminate", plan=schedule.plan)
    outcome, problems = judge(world, done, hits_cleanup=schedule.hits_cleanup)
    world.clear_faults()
    undone = world.down()
    problems += [f"down: {one}" for one in (*undone.check_manners(), *world.find_problems(hosts=0))]
    if undone.code:
        problems.append(f"down: exit code {undone.code}")
    assert not problems, (
        f"{schedule}\n{problems}\n--- launch, exit code {done.code}\n{done.output}\n--- down\n{undone.output}"
    )
    return outcome


def judge(world: World, done: Done, *, hits_cleanup: bool) -> tuple[str, list[str]]:
    """Return the outcome of a launch and what is wrong with it: it must be *up* or *failed clean*.

    If a call of the clean-up fails too, something may remain if the message names the command that removes it.
    """
    manners = done.check_manners()
    if done.code == 0:
        return "up", [*manners, *world.find_problems(hosts=1 + world.factories)]
    left = world.find_problems(hosts=0)
    if not left:
        return "failed clean", manners
    if hits_cleanup and "flambe-ans down" in done.output:
        return "failed, rest named", [*manners, *world.find_problems(hosts=None)]
    return "failed", [*manners, *left]
