"""Actions that copy files of the controller to hosts that lack them."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible_collections.flambe.cluster.plugins.action import python_lock, python_runtime
from ansible_collections.flambe.cluster.plugins.plugin_utils import copying_action
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
    action._task = SimpleNamespace(args=dict(args), copy=SimpleNamespace, check_mode=False)
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


class Play:
    """Hosts of a play, each with its action: what the controller sent, and from which host the others copied."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
        (folder / "uv").write_bytes(b"uv")
        self.args = {"uv": "/lib/uv", "uv_src": str(folder / "uv"), "copies_source": "head", "user": "me"}
        self.sent: list[str] = []
        self.fetched: list[tuple[str, str]] = []
        self.warnings: list[str] = []
        self.has_key = True
        self.unreachable = ""
        self.head_begins = threading.Event()
        self.check_mode = False
        monkeypatch.setattr(copying_action.constants, "DEFAULT_LOCAL_TMP", str(folder))
        monkeypatch.setattr(copying_action.display, "warning", self.warnings.append)
        monkeypatch.setattr(CheckedAction, "run_module", self._run_module)

    def run(self, host: str) -> dict[str, Any]:
        action = object.__new__(python_runtime.ActionModule)
        action._task = SimpleNamespace(args=dict(self.args), copy=SimpleNamespace, check_mode=self.check_mode)
        action._connection = action._play_context = action._loader = action._templar = None
        copy = SimpleNamespace(run=lambda task_vars: self._send(task_vars["inventory_hostname"]))
        action._shared_loader_obj = SimpleNamespace(action_loader=SimpleNamespace(get=lambda *_a, **_more: copy))
        action._execute_module = lambda name, args, task_vars: self._fetch(name, args, task_vars["inventory_hostname"])
        result: dict[str, Any] = action.run_module(None, {"inventory_hostname": host})
        return result

    def has(self, host: str) -> bool:
        return host in self.sent or host in [name for name, _ in self.fetched]

    def _run_module(self, _tmp: Any, task_vars: Mapping[str, Any]) -> dict[str, Any]:
        return {"changed": False, "uv_missing": not self.has(task_vars["inventory_hostname"]), "wheel_missing": False}

    def _send(self, host: str) -> dict[str, Any]:
        if host == "head":
            self.head_begins.set()
            time.sleep(0.3)  # until the file is there
        self.sent.append(host)
        return {"changed": True}

    def _fetch(self, name: str, args: Mapping[str, Any], host: str) -> dict[str, Any]:
        sha256 = "e6184ce10e266134fdcfa401e8f1a95005bcd4f18d16b62b757323e2833fe9a9"
        expected = {"source": "head", "path": "/lib/uv", "mode": "0755", "sha256": sha256, "user": "me"}
        assert (name, args) == ("flambe.cluster.cluster_file", expected)
        if not self.has_key:
            return {"copied": False, "has_key": False, "reason": "me has no key"}
        if host == self.unreachable:
            return {"copied": False, "has_key": True, "reason": "Connection refused"}
        if "head" not in self.sent:
            self.head_begins.wait(5)  # as the module, which waits for some seconds
            return {"copied": False, "has_key": True, "reason": "no such file"}
        self.fetched.append((host, args["source"]))
        return {"copied": True, "changed": True, "has_key": True}


HOSTS = [f"f{n}" for n in range(16)]


@pytest.fixture
def play(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Play:
    return Play(monkeypatch, tmp_path)


def test_the_controller_sends_a_file_to_one_host_of_many(play: Play) -> None:
    with ThreadPoolExecutor(17) as pool:
        results = list(pool.map(play.run, [*HOSTS, "head"]))  # the others begin before the source does
    assert play.sent == ["head"]
    assert sorted(play.fetched) == sorted((name, "head") for name in HOSTS)
    assert all(one["changed"] and not one["uv_missing"] for one in results)
    assert play.warnings == []


def test_a_host_that_cannot_copy_from_the_source_gets_the_file_from_the_controller(play: Play) -> None:
    play.unreachable = "f1"
    for host in ("head", "f0", "f1"):
        assert not play.run(host)["uv_missing"]
    assert (play.sent, play.fetched) == (["head", "f1"], [("f0", "head")])
    assert play.warnings == ["f1 gets /lib/uv from the controller, not from head: Connection refused"]


def test_hosts_without_the_keys_of_a_cluster_get_files_from_the_controller(play: Play) -> None:
    play.has_key = False
    for host in ("head", "f0", "f1"):
        play.run(host)
    assert (play.sent, play.fetched, play.warnings) == (["head", "f0", "f1"], [], [])


def test_check_mode_copies_from_no_host(play: Play) -> None:
    play.check_mode = True
    play.run("f0")
    assert (play.sent, play.fetched) == (["f0"], [])  # Ansible's copy changes nothing in check mode
