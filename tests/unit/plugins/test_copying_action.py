"""Actions that copy files of the controller to hosts that lack them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import pytest
from ansible_collections.flambe.cluster.plugins.action import python_lock, python_runtime
from ansible_collections.flambe.cluster.plugins.plugin_utils.checked_action import ActionModule as CheckedAction

FILE = {"src": "/laptop/a.whl", "dest": "/opt/x/wheels/a.whl", "mode": "0644"}


class Copies:
    """Ansible's action ``copy``: it records its arguments."""

    def __init__(self) -> None:
        self.made: list[dict[str, Any]] = []
        self.result: dict[str, Any] = {"changed": True}

    def get(self, name: str, *, task: Any, **_options: Any) -> Any:
        assert name == "ansible.legacy.copy"
        return SimpleNamespace(run=lambda task_vars: self.made.append(task.args) or dict(self.result))


def run(
    module: Any, monkeypatch: pytest.MonkeyPatch, copies: Copies, args: Mapping[str, Any], *results: Mapping[str, Any]
) -> tuple[dict[str, Any], int]:
    """Run an action whose module returns these results; return its own result, and how often the module ran."""
    waiting: list[Mapping[str, Any]] = list(results)
    monkeypatch.setattr(CheckedAction, "run_module", lambda *_args: dict(waiting.pop(0)))
    action = object.__new__(module.ActionModule)
    action._task = SimpleNamespace(args=dict(args), copy=SimpleNamespace)
    action._connection = action._play_context = action._loader = action._templar = None
    action._shared_loader_obj = SimpleNamespace(action_loader=copies)
    result: dict[str, Any] = action.run_module(None, {})
    return result, len(results) - len(waiting)


@pytest.fixture
def copies() -> Copies:
    return Copies()


def test_nothing_is_copied_to_a_host_that_is_complete(monkeypatch: pytest.MonkeyPatch, copies: Copies) -> None:
    args = {"uv": "/lib/uv", "uv_src": "/laptop/uv", "wheel": "", "wheel_src": ""}
    ready = {"changed": False, "uv_missing": False, "wheel_missing": False}
    assert run(python_runtime, monkeypatch, copies, args, ready, ready) == (ready, 1)
    assert copies.made == []


def test_what_a_host_lacks_is_copied_before_the_module_runs_again(
    monkeypatch: pytest.MonkeyPatch, copies: Copies
) -> None:
    args = {"uv": "/lib/flambe-uv", "uv_src": "/laptop/uv", "wheel": FILE["dest"], "wheel_src": FILE["src"]}
    lacks, done = {"changed": False, "uv_missing": True, "wheel_missing": True}, {"changed": True, "msg": "installed"}
    assert run(python_runtime, monkeypatch, copies, args, lacks, done) == (done, 2)
    owner = {"owner": "root", "group": "root"}
    assert copies.made == [
        {"src": "/laptop/uv", "dest": "/lib/flambe-uv", "mode": "0755", **owner},
        {**FILE, "dest": "/opt/x/wheels/", "directory_mode": "0755", **owner},
    ]


@pytest.mark.parametrize("results", [[], [{"changed": False, "uv_missing": True}]], ids=["given", "missing"])
def test_a_copy_that_fails_is_the_failure_of_the_task(
    monkeypatch: pytest.MonkeyPatch, copies: Copies, results: Sequence[Mapping[str, Any]]
) -> None:
    copies.result = {"failed": True, "msg": "no space left"}
    args = {"uv": "/lib/uv", "uv_src": "/laptop/uv", "copies": [] if results else [FILE]}
    result, _ = run(python_runtime, monkeypatch, copies, args, *results)
    assert (result["failed"], result["msg"]) == (True, "no space left")


def test_given_copies_come_first_and_count_as_a_change(monkeypatch: pytest.MonkeyPatch, copies: Copies) -> None:
    result, _ = run(python_lock, monkeypatch, copies, {"copies": [FILE]}, {"changed": False})
    assert (result["changed"], len(copies.made)) == (True, 1)


def test_without_a_source_the_module_decides(monkeypatch: pytest.MonkeyPatch, copies: Copies) -> None:
    lacks = {"changed": False, "uv_missing": True, "wheel_missing": False}
    assert run(python_runtime, monkeypatch, copies, {"uv": "/lib/uv"}, lacks) == (lacks, 1)
    assert copies.made == []
