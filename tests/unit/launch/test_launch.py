"""A launch goes on without the factories that fail."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any
from unittest.mock import create_autospec

import pytest

from flambe_ansible.errors import HostConnectionError, PlaybookError, RayError, TaskFailure
from flambe_ansible.events import Event, Status, StepEvent
from flambe_ansible.fleet.player import Player
from flambe_ansible.hosts import Host
from flambe_ansible.launch import launch
from flambe_ansible.launch.launch import FailedHost, LaunchResult
from flambe_ansible.playbooks import HostResult
from flambe_ansible.runtimes import RuntimeVersion, make_runtime
from flambe_ansible.runtimes.ray_service import RayNode, RayNodes, RayService
from tests.unit.cli.made_up import make_host, make_nodes
from tests.unit.fleets import make_fleet

HEAD, ONE, TWO, THREE = make_host(), make_host(0), make_host(1), make_host(2)
UNREACHED = FailedHost(host=THREE, error=HostConnectionError("no SSH", host=THREE.name, unreachable=True))


def launch_on(
    hosts: Sequence[Host],
    monkeypatch: pytest.MonkeyPatch,
    *,
    broken: Sequence[Host] = (),
    nodes: RayNodes | None = None,
    unreached: Sequence[FailedHost] = (),
    received: list[Event] | None = None,
) -> tuple[LaunchResult, Any]:
    """Launch; the playbook fails on the broken hosts, and Ray reports the nodes."""
    played = {host.name: HostResult(host=host.name) for host in hosts} | {
        host.name: HostResult(host=host.name, failures=(TaskFailure(host=host.name, role="r", task="t", message="m"),))
        for host in broken
    }
    player = create_autospec(Player, instance=True, fleet=make_fleet(hosts=hosts, received=received))
    player.play.return_value = played
    player.new_log.return_value = Path("/log")
    runtime = make_runtime("flambe" if nodes else "none")
    for name, answer in (("await_nodes", nodes), ("explain", RayError("no live node"))):
        method = create_autospec(getattr(RayService, name), return_value=answer)
        if name == "await_nodes":
            method.side_effect = lambda *_, report, **__: report(nodes.find_missing(hosts) if nodes else []) or nodes
        monkeypatch.setattr(RayService, name, method)
    result = launch.converge(
        player, runtime, RuntimeVersion(), created=[THREE.name, ONE.name], started=0.0, unreached=unreached
    )
    return result, player


def test_hosts_that_do_not_answer_stay_members_and_nothing_runs_on_them(monkeypatch: pytest.MonkeyPatch) -> None:
    result, player = launch_on([HEAD, ONE, TWO], monkeypatch, unreached=[UNREACHED])
    assert (result.hosts, result.failed, result.created) == ((HEAD, ONE, TWO), (UNREACHED,), (ONE.name, THREE.name))
    assert player.play.call_args.kwargs["absent"] == [THREE]
    assert player.play.call_args.kwargs["required"] == [HEAD.name]


def test_factories_on_which_the_playbook_fails_share_one_error(monkeypatch: pytest.MonkeyPatch) -> None:
    result, _ = launch_on([HEAD, ONE, TWO, THREE], monkeypatch, broken=[ONE, THREE])
    assert result.hosts == (HEAD, TWO)
    [error] = {one.error for one in result.failed}
    assert isinstance(error, PlaybookError)
    assert [failure.host for failure in error.failures] == [ONE.name, THREE.name]
    assert error.message == f"site.yml failed on {ONE.name}, {THREE.name}"


def test_factories_without_a_live_node_fail_and_the_others_are_ready(monkeypatch: pytest.MonkeyPatch) -> None:
    received: list[Event] = []
    nodes = make_nodes((HEAD, ONE, TWO), dead=(ONE.name,))
    result, _ = launch_on([HEAD, ONE, TWO], monkeypatch, nodes=nodes, received=received)
    assert result.hosts == (HEAD, TWO)
    assert [(one.host, type(one.error)) for one in result.failed] == [(ONE, RayError)]
    steps = [(event.host, event.status) for event in received if isinstance(event, StepEvent)]
    assert steps == [
        (HEAD.name, Status.OK), (ONE.name, Status.RUNNING), (TWO.name, Status.OK), (ONE.name, Status.FAILED),
    ]  # fmt: skip


@pytest.mark.parametrize("nodes", [RayNodes(error="no answer"), RayNodes(nodes=(RayNode(address="x", alive=True),))])
def test_a_dead_head_is_an_error_for_all(monkeypatch: pytest.MonkeyPatch, nodes: RayNodes) -> None:
    with pytest.raises(RayError):
        launch_on([HEAD, ONE], monkeypatch, nodes=nodes)


def test_without_a_factory_the_launch_fails_with_the_messages_of_all(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(PlaybookError, match=r"site\.yml failed on demo_factory_0\nno SSH"):
        launch_on([HEAD, ONE], monkeypatch, broken=[ONE], unreached=[UNREACHED])
