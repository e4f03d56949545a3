"""Launches while a job runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from unittest.mock import create_autospec

import pytest

from flambe_ansible.errors import ClusterBusyError, PlaybookError, TaskFailure
from flambe_ansible.events import Event, Notice
from flambe_ansible.fleet import player as players
from flambe_ansible.fleet.player import Player
from flambe_ansible.jobs.state import JobState
from flambe_ansible.launch.protecting import PROTECTED, protect
from flambe_ansible.runtimes import make_runtime
from flambe_ansible.runtimes.ray_service import RayNodes, RayService
from tests.unit.cli.made_up import HOSTS, make_nodes
from tests.unit.fleets import make_connections, make_fleet

JOB = JobState(state="running", active=True, name="topics", since="2026-11-29T12:03:00Z")
REASON = "flambe-ray.service is running and would be restarted: flambe changes from 0.4.18 to 0.4.17"


def fail(host: str, message: str, step: str) -> TaskFailure:
    return TaskFailure(host=host, role="flambe", task="Install", message=message, step=step)


def check(
    monkeypatch: pytest.MonkeyPatch, *failures: TaskFailure, receipt: str = "", play_all: bool = False
) -> tuple[dict[str, Any], list[Event]]:
    """Call ``protect`` with a playbook that fails on hosts; return its arguments, and the events."""
    called: dict[str, Any] = {}
    received: list[Event] = []

    def run_playbook(name: str, **options: Any) -> dict[str, Any]:
        called.update(options, name=name)
        if failures:
            raise PlaybookError("site.yml failed", failures=failures)
        return {}

    monkeypatch.setattr(players, "run_playbook", run_playbook)
    fleet = make_fleet(make_connections(receipt), received=received)
    made = Player(fleet=fleet, variables=lambda: {"cluster_name": "c", "flambe_version": "0.4.17"}, logs=Path())
    protect(made, make_runtime("flambe"), cluster="demo", job=JOB, play_all=play_all)
    return called, received


def test_the_roles_that_may_end_a_job_are_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    called, received = check(monkeypatch)
    assert (called["name"], called["check"], called["tags"]) == ("site.yml", True, ["flambe", "ray_node"])
    variables = called["inventory"]["all"]["children"]["c"]["vars"]
    assert variables["flambe_unless_active"] == "flambe-ray.service"
    assert (variables["ray_node_restart"], variables["flambe_version"]) == (False, "0.4.17")
    [notice] = received
    assert isinstance(notice, Notice)


def test_a_launch_that_would_end_the_job_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    failures = [fail("demo_orchestrator", REASON, PROTECTED), fail("demo_factory_0", REASON, PROTECTED)]
    with pytest.raises(ClusterBusyError) as caught:
        check(monkeypatch, *failures)
    assert caught.value.message == (
        "cluster demo is busy: topics is running since 2026-11-29T12:03:00Z, and this launch would end it;"
        f" nothing was changed; demo_orchestrator, demo_factory_0: {REASON}"
    )
    assert (caught.value.exit_code, caught.value.state) == (11, "running")
    assert "launch CLUSTER --force" in (caught.value.hint or "")


def test_a_check_that_fails_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(PlaybookError, match=r"site\.yml failed"):
        check(monkeypatch, fail("demo_factory_0", "no answer", "packages"))


@pytest.mark.parametrize(
    ("nodes", "differs", "play_all", "played"),
    [
        (make_nodes(), {}, False, False),
        (make_nodes(), {"idle_shutdown": "the configuration changed"}, False, False),
        (make_nodes(), {"flambe": "the configuration changed"}, False, True),
        (make_nodes(), {"setup_cmds": "the host was rebooted"}, False, True),  # it affects Ray
        (make_nodes(dead=(HOSTS[1].name,)), {}, False, True),
        (make_nodes(), {}, True, True),
    ],
)
def test_nothing_is_checked_if_the_launch_plays_nothing_that_may_end_a_job(
    monkeypatch: pytest.MonkeyPatch, nodes: RayNodes, differs: dict[str, str], play_all: bool, played: bool
) -> None:
    monkeypatch.setattr(RayService, "ask", create_autospec(RayService.ask, return_value=nodes))
    roles = dict.fromkeys(["idle_shutdown", "setup_cmds", "flambe", "ray_node"], "l1")
    receipt = json.dumps({"reason": "", "differs": differs, "roles": roles})
    called, _ = check(monkeypatch, receipt=receipt, play_all=play_all)
    assert bool(called) is played
