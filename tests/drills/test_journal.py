"""A journal that is cut, lost or cannot be written leaves no orphan."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path

import pytest

from flambe_ansible.journal import FILE, RESOURCES_FILE, UNKNOWN, Journal
from tests.drills.stages import Plan
from tests.drills.world import NAME, World, show_late

KILLED = Plan(call=6, moment="during")  # the first RunInstances: it was carried out, and its answer is lost


def find_journal(world: World) -> Path:
    [folder] = (world.state / "clusters").glob(f"{NAME}-*")
    return folder / FILE


def kill(world: World) -> bytes:
    """Kill a launch whose request for the factories has no answer, and return its journal."""
    world.reset(1)
    world.launch(on_failure="keep", plan=KILLED)
    content = find_journal(world).read_bytes()
    assert [entry["stage"] for entry in json.loads(content)["creations"]] == ["asked"]
    assert len(world.live()) == 1
    return content


def read(path: Path, content: bytes) -> str:
    """Return what the journal's reader makes of a content: the requests that it lists, or that it is damaged."""
    path.write_bytes(content)
    aside = path.with_name(f"{FILE}.damaged")
    aside.unlink(missing_ok=True)
    [found] = Journal(path.parent).unfinished()
    assert aside.exists() == (found.role == UNKNOWN)
    assert not aside.exists() or (aside.read_bytes() == content and found.age < 60)
    return found.role


def undo(world: World, content: bytes | None) -> None:
    """Write or delete the journal of a killed launch; ``down`` then removes everything."""
    path = find_journal(world)
    path.unlink() if content is None else path.write_bytes(content)
    done = world.down()
    assert (done.code, world.find_problems(hosts=0)) == (0, []), done.output


def test_each_length_is_read_or_reported(world: World, tmp_path: Path) -> None:
    """A damaged journal is set aside, and stands for a request of that time; it is never taken for an empty one."""
    content = kill(world)
    kinds = defaultdict(list)
    for size in range(len(content) + 1):
        kinds[read(tmp_path / FILE, content[:size])].append(size)
    assert kinds == {UNKNOWN: list(range(len(content) - 1)), "Factory": [len(content) - 1, len(content)]}


@pytest.mark.parametrize(
    "part", [0.0, *(pytest.param(one / 100, marks=pytest.mark.long) for one in range(1, 100)), 0.5]
)
def test_down_after_a_cut_journal(world: World, part: float) -> None:
    content = kill(world)
    undo(world, content[: int(len(content) * part)])


@pytest.mark.parametrize("cut", [0, 100])
def test_down_after_a_cut_journal_of_resources(world: World, cut: int) -> None:
    """The launch was killed while the key pair was created."""
    world.reset(1)
    world.launch(on_failure="keep", plan=Plan(call=5, moment="during"))
    path = find_journal(world).with_name(RESOURCES_FILE)
    path.write_bytes(path.read_bytes()[:cut])
    done = world.down()
    assert (done.code, world.find_problems(hosts=0)) == (0, []), done.output


def test_a_hidden_host_of_a_damaged_journal_is_found(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """EC2 does not show the host of the request yet: the next launch waits, and does not create another one."""
    show_late(world, monkeypatch)
    world.launch(on_failure="keep", plan=KILLED)
    find_journal(world).write_bytes(b"{")
    done = world.launch(on_failure="keep")
    assert (done.code, world.find_problems(hosts=2)) == (0, []), done.output


def test_down_after_a_deleted_journal(world: World) -> None:
    kill(world)
    undo(world, None)


@pytest.mark.parametrize("cut", [None, 10])
def test_launch_after_a_damaged_journal(world: World, cut: int | None) -> None:
    content = kill(world)
    path = find_journal(world)
    path.unlink() if cut is None else path.write_bytes(content[:cut])
    done = world.launch(on_failure="keep")
    assert (done.code, world.find_problems(hosts=2)) == (0, []), done.output


def test_a_journal_that_cannot_be_written_creates_nothing(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(28, "No space left on device", "journal.json")

    world.reset(1)
    monkeypatch.setattr(Journal, "_write", refuse)
    done = world.launch()
    assert done.code == 1 and "error: " in done.output and "Traceback" not in done.output, done.output
    monkeypatch.undo()
    assert world.live() == []
    undone = world.down()
    assert (undone.code, world.find_problems(hosts=0)) == (0, []), undone.output
