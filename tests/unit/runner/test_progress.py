"""flambe's state, read without flambe."""

from __future__ import annotations

import os
import pickle
import sys
import types
from collections import OrderedDict
from pathlib import Path
from typing import Any

import progress
import pytest


@pytest.fixture
def state_class(monkeypatch: pytest.MonkeyPatch) -> type:
    """Return a class that is pickled like that of flambe."""
    module = types.ModuleType("flambe.experiment.progress")
    record = type("ProgressState", (), {"__module__": "flambe.experiment.progress"})
    module.ProgressState = record  # type: ignore[attr-defined]
    for name in ("flambe", "flambe.experiment"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    monkeypatch.setitem(sys.modules, "flambe.experiment.progress", module)
    return record


def write(folder: Path, state_class: type, **attributes: Any) -> None:
    state = state_class()
    vars(state).update(attributes)
    (folder / "state.pkl").write_bytes(pickle.dumps(state, protocol=3))


def test_stages_are_in_order_with_the_running_one(tmp_path: Path, state_class: type) -> None:
    write(tmp_path, state_class, block_state=OrderedDict(a=2, b=3, c=1, d=0, e=4), time_lapses={"a": 1.5}, config="x")
    stages = progress.read_stages(str(tmp_path))
    assert list(stages.items()) == [
        ("a", "succeeded"), ("b", "failed"), ("c", "running"), ("d", "pending"), ("e", "masked"),
    ]  # fmt: skip
    assert progress.find_stage(stages) == "c"


@pytest.mark.parametrize(
    ("stages", "stage"),
    [
        ({}, ""),
        ({"a": "pending"}, ""),
        ({"a": "succeeded", "b": "succeeded"}, "b"),
        ({"a": "failed", "b": "pending"}, "a"),
    ],
)
def test_the_stage_of_a_job_that_is_not_running(stages: dict[str, str], stage: str) -> None:
    assert progress.find_stage(stages) == stage


class Harmful:
    """Calls a function when it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("touch /tmp/flambe-run-was-here",)


@pytest.mark.parametrize("content", [b"", b"\x80\x03", b"garbage", pickle.dumps([1]), pickle.dumps(Harmful())])
def test_other_files_are_ignored_and_nothing_is_executed(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "state.pkl").write_bytes(content)
    assert progress.read_stages(str(tmp_path)) == {}
    assert not Path("/tmp/flambe-run-was-here").exists()


def test_only_results_count_as_progress(tmp_path: Path) -> None:
    assert progress.last_change(str(tmp_path / "nowhere")) == 0
    (tmp_path / "train").mkdir()
    (tmp_path / "train/result.json").touch()
    os.utime(tmp_path / "train/result.json", (1000, 1000))
    (tmp_path / "train/experiment_state-1.json").touch()
    assert progress.last_change(str(tmp_path)) == 1000
