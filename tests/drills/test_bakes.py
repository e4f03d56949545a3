"""A bake that is killed at any place: the next one finishes, and nothing is left besides one image."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pytest

from tests.drills.stages import MOMENTS, Plan
from tests.drills.world import LIVE, World, read_tags

CALLS = 13  # calls that change something in a bake
STAGES = ("connect", "probe", "reserve", "play", "check", "clean")
PLANS = [
    pytest.param(plan, id=str(plan), marks=() if index % 9 == 0 else (pytest.mark.long,))
    for index, plan in enumerate(
        [
            *(Plan(call=call, moment=moment) for call in range(1, CALLS + 1) for moment in MOMENTS),
            *(Plan(stage=stage) for stage in STAGES),
            *(Plan(stage=stage, signal=signal.SIGINT) for stage in STAGES),
        ]
    )
]


@pytest.fixture
def empty(world: World) -> World:
    """Return an empty account and a cluster with setup commands."""
    world.reset(1)
    world.file.write_text(f"{world.file.read_text()}setup_cmds: [make data]\n")
    return world


def bake(world: World, *options: str, plan: Plan | None = None) -> Any:
    return world.run("bake", str(world.file), "--yes", *options, plan=plan)


def list_images(world: World) -> list[Any]:
    return list(world.served.cloud.images())


def find_rest(world: World) -> list[str]:
    """Return what a bake must not leave."""
    cloud = world.served.cloud
    hosts = [one.id for one in cloud.instances() if one.state in LIVE and one.id not in world.foreign]
    snapshots = {one.ebs_snapshot.id for one in list_images(world)}
    own = [one.id for one in cloud.ec2.snapshots.values() if read_tags(one).get("Purpose") == "flambe"]
    return [
        *hosts,
        *cloud.cloudwatch.alarms,
        *(one for one in own if one not in snapshots),
        *world._own_pairs(),
        *(group.name for group in world._own_groups()),
        *world._check_foreign(),
    ]


def test_a_bake_makes_one_image_and_leaves_nothing_else(empty: World) -> None:
    done = bake(empty)
    assert (done.code, done.check_manners(), find_rest(empty)) == (0, [], []), done.output
    [image] = list_images(empty)
    tags = read_tags(image)
    assert (tags["Purpose"], tags["Cluster-Name"], tags["creator"]) == ("flambe", "drill", "ada@example.com")
    assert read_tags(image.ebs_snapshot) == tags
    assert image.ebs_snapshot.encrypted
    assert len(empty.gate.changes) == CALLS, empty.gate.changes

    assert bake(empty).code == 0  # the image exists
    assert list_images(empty) == [image]
    assert "RunInstances" not in empty.gate.changes
    assert bake(empty, "--again").code == 0
    assert (len(list_images(empty)), find_rest(empty)) == (2, [])


def test_a_launch_creates_its_hosts_from_the_image(empty: World) -> None:
    assert bake(empty).code == 0
    [image] = list_images(empty)
    done = empty.launch()
    assert (done.code, empty.find_problems(hosts=2)) == (0, []), done.output
    assert {one.image_id for one in empty.live()} == {image.id}
    assert image.id in done.output and "(baked " in done.output
    text = empty.file.read_text().replace("factories_num: 1", "factories_num: 2")
    empty.file.write_text(text.replace("make data", "make other data"))  # another recipe
    assert empty.launch().code == 0
    assert sorted(one.image_id == image.id for one in empty.live()) == [False, True, True]


def test_roles_with_different_default_images_get_an_image_each(empty: World) -> None:
    text = empty.file.read_text()
    empty.file.write_text(text.replace("factories_type: t3.large", "factories_type: g4dn.xlarge"))
    done = bake(empty)
    assert (done.code, find_rest(empty)) == (0, []), done.output
    images = {read_tags(one)["Flambe-Base"]: one.id for one in list_images(empty)}
    assert set(images) == {"ubuntu-x86_64", "ubuntu-x86_64-gpu"}
    assert empty.launch().code == 0
    used = {read_tags(one)["Role"]: one.image_id for one in empty.live()}
    assert used == {"Orchestrator": images["ubuntu-x86_64"], "Factory": images["ubuntu-x86_64-gpu"]}
    assert bake(empty).code == 0 and len(list_images(empty)) == 2


@pytest.mark.parametrize("plan", PLANS)
def test_the_next_bake_finishes_what_was_killed(empty: World, plan: Plan) -> None:
    killed = bake(empty, plan=plan)
    assert killed.code != 0 or plan.call == CALLS or plan.moment == "during", killed.output
    done = bake(empty)
    assert (done.code, find_rest(empty), len(list_images(empty))) == (0, [], 1), (
        f"{plan}\n--- killed\n{killed.output}\n--- bake\n{done.output}"
    )


@pytest.mark.parametrize("stage", ["connect", "play"])
def test_a_bake_that_fails_terminates_its_host(empty: World, stage: str) -> None:
    done = bake(empty, plan=Plan(stage=stage, fails=True))
    assert done.code in (5, 6) and not done.check_manners(), done.output
    assert (find_rest(empty), list_images(empty)) == ([], [])


def test_the_host_of_another_machine_is_kept(empty: World, monkeypatch: pytest.MonkeyPatch) -> None:
    assert bake(empty, plan=Plan(stage="play")).code == -signal.SIGKILL
    with monkeypatch.context() as patch:
        patch.setattr(empty, "state", empty.folder / "other-state")
        done = bake(empty)
    assert done.code == 11 and "another machine bakes" in done.output, done.output
    assert len([one for one in empty.served.cloud.instances() if one.state in LIVE]) == 2  # and the foreign instance
    assert bake(empty).code == 0


def test_a_cluster_of_the_user_with_the_name_of_the_temporary_one_is_kept(empty: World, tmp_path: Path) -> None:
    other = empty.file.read_text().replace("name: drill\n", "name: drill-bake\n")
    text, _ = empty.file.read_text(), empty.file.write_text(other)
    assert empty.launch().code == 0
    empty.file.write_text(text)
    done = bake(empty)
    assert done.code == 3 and "belongs to a cluster drill-bake" in done.output, done.output
    hosts = [one for one in empty.served.cloud.instances() if one.state in LIVE and one.id not in empty.foreign]
    assert len(hosts) == 2 and not list_images(empty)
