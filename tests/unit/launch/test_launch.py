"""A launch goes on without the factories that fail."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import create_autospec

import pytest

from flambe_ansible.errors import HostConnectionError, PlaybookError, RayError, RemoteCommandError, TaskFailure
from flambe_ansible.events import Event, Notice, Status, StepEvent
from flambe_ansible.fleet import observing
from flambe_ansible.fleet.player import Player
from flambe_ansible.gpus import Gpu, GpuState, HostGpus
from flambe_ansible.hosts import Host
from flambe_ansible.launch import converging
from flambe_ansible.launch.launch import FailedHost, LaunchResult
from flambe_ansible.launch.verifying import make_receipts
from flambe_ansible.playbook_events import RoleResult
from flambe_ansible.playbooks import HostResult
from flambe_ansible.runtimes import RuntimeVersion, make_runtime
from flambe_ansible.runtimes.ray_service import RayNode, RayNodes, RayService
from flambe_ansible.ssh import Completed
from flambe_ansible.ssh.probing import Probe
from tests.unit.cli.made_up import make_host, make_nodes
from tests.unit.fleets import make_connections, make_fleet

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
    receipts: Sequence[str] = (),
    play_all: bool = False,
    played: Sequence[Host] = (),
    gpus: Mapping[str, HostGpus] | None = None,
    rebooted: Sequence[Host] = (),
    refused: tuple[str, Sequence[Host]] = ("", ()),
) -> tuple[LaunchResult, Any]:
    """Launch; the playbook fails on the broken hosts, Ray reports the nodes, and the hosts answer with the receipts.

    ``refused`` is a change of receipts, and the hosts on which it fails.
    """
    results = {host.name: HostResult(host=host.name) for host in played or hosts} | {
        host.name: HostResult(host=host.name, failures=(TaskFailure(host=host.name, role="r", task="t", message="m"),))
        for host in broken
    }
    connections = make_connections()
    connections.probes = {name: Probe(gpus=one) for name, one in (gpus or {}).items()}
    answers = dict(zip(hosts, receipts, strict=False))

    def run(host: Host, *_words: object, **options: str) -> Completed:
        if host in refused[1] and options["input"].splitlines()[-1].startswith(f"{refused[0]}("):
            raise RemoteCommandError("read-only", host=host.name, command="python3", returncode=1, output="")
        writes = options["input"].splitlines()[-1].startswith("write(")
        answer = ("rebooted\n" if host in rebooted else "") if writes else answers.get(host, "")
        return Completed(returncode=0, stdout=answer, stderr="")

    connections.run.side_effect = run
    fleet = make_fleet(connections, hosts=hosts, received=received)
    player = create_autospec(Player, instance=True, fleet=fleet, variables=dict)
    player.play.return_value = results
    player.new_log.return_value = Path("/log")
    runtime = make_runtime("flambe" if nodes else "none")
    for name, answer in (("await_nodes", nodes), ("ask", nodes), ("explain", RayError("no live node"))):
        method = create_autospec(getattr(RayService, name), return_value=answer)
        if name == "await_nodes":
            method.side_effect = lambda *_, report, **__: report(nodes.find_missing(hosts) if nodes else []) or nodes
        monkeypatch.setattr(RayService, name, method)
    result = converging.converge(
        player,
        runtime,
        RuntimeVersion(),
        created=[THREE.name, ONE.name],
        started=0.0,
        unreached=unreached,
        play_all=play_all,
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
    steps = [(event.host, event.status) for event in received if isinstance(event, StepEvent) and event.step == "ray"]
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


def receipt(
    reason: str = "", roles: Sequence[str] = ("cluster_keys", "flambe", "ray_node"), *, boot: str = "b0", **differs: str
) -> str:
    known = {} if reason else dict.fromkeys(roles, "l1")
    return json.dumps({"reason": reason, "differs": differs, "roles": known, "boot": boot})


def calls_of(player: Any) -> list[str]:
    """Return the calls that were sent to the hosts, without arguments, in their order."""
    programs = [call.kwargs["input"] for call in player.fleet.connections.run.call_args_list]
    return [program.rstrip().rpartition("\n")[2].partition("(")[0] for program in programs]


def test_nothing_is_played_if_no_host_differs(monkeypatch: pytest.MonkeyPatch) -> None:
    received: list[Event] = []
    alive = make_nodes((HEAD, ONE))
    result, player = launch_on([HEAD, ONE], monkeypatch, nodes=alive, receipts=[receipt()] * 2, received=received)
    assert (result.hosts, result.ray, result.log) == ((HEAD, ONE), alive, None)
    assert {name: one.changed for name, one in result.playbook.items()} == {HEAD.name: 0, ONE.name: 0}
    assert not player.play.called
    assert calls_of(player) == ["verify", "verify"]  # one command per host
    assert [(one.host, one.step) for one in received if isinstance(one, StepEvent) and one.status is Status.OK] == [
        (HEAD.name, "verify"), (ONE.name, "verify"),
    ]  # fmt: skip


ALL = ["idle_shutdown", "cluster_gpu", "cluster_keys"]  # runtime none, no setup commands and secrets, GPUs unknown


@pytest.mark.parametrize(
    ("receipts", "options", "tags", "limit", "skip"),
    [
        ((receipt(), receipt(ray_node="a is missing")), {}, ["ray_node_first"], [ONE.name], {}),
        ((receipt(ray_node="a is missing"), receipt(flambe="b changed")), {}, ["flambe", "ray_node"], [], [HEAD, TWO]),
        ((receipt(), receipt("no launch has completed")), {}, ALL, [], [HEAD, TWO]),
        ((receipt(), receipt()), {"play_all": True}, ALL, [], {}),
        ((receipt(), receipt(ray_node="a is missing")), {"play_all": True}, ALL, [], {}),
        (
            (receipt(), receipt()),
            {"nodes": make_nodes((HEAD, ONE, TWO), dead=(ONE.name,))},
            ["ray_node_first"],
            [ONE.name],
            {},
        ),
        ((receipt(), "no JSON"), {}, ALL, [], [HEAD, TWO]),
        (  # a dead node is found although another role differs
            (receipt(), receipt(idle_shutdown="b changed", roles=("idle_shutdown", "ray_node"))),
            {"nodes": make_nodes((HEAD, ONE, TWO), dead=(ONE.name,))},
            ["idle_shutdown", "ray_node_first"],
            [ONE.name],
            {},
        ),
    ],
)
def test_what_differs_is_played_where_it_differs(
    monkeypatch: pytest.MonkeyPatch,
    receipts: Sequence[str],
    options: dict[str, Any],
    tags: list[str],
    limit: list[str],
    skip: Sequence[Host],
) -> None:
    result, player = launch_on([HEAD, ONE, TWO], monkeypatch, receipts=[*receipts, receipt()], **options)
    played_with = player.play.call_args.kwargs
    assert (list(played_with["tags"]), list(played_with["limit"])) == (tags, limit)
    partial = [
        role for role in tags if role not in ("cluster_keys", "ray_node", "ray_node_first")
    ]  # these read other hosts
    assert played_with["skip"] == ({role: [host.name for host in skip] for role in partial} if skip else {})
    names = [host.name for host in (HEAD, ONE, TWO)]
    new = {name for name, text in zip(names, receipts, strict=False) if observing.NO_RECEIPT in text}
    played = set(limit or names) - new
    removed = {call.args[0].name for call in player.fleet.connections.run.call_args_list[3 : 3 + len(played)]}
    assert removed == played
    # A killed launch leaves no receipt of what it plays.
    assert calls_of(player)[: 3 + len(played)] == [*["verify"] * 3, *["keep"] * len(played)]
    assert list(result.playbook) == [HEAD.name, ONE.name, TWO.name]


def test_a_receipt_keeps_the_roles_that_are_not_played(monkeypatch: pytest.MonkeyPatch) -> None:
    receipts = [receipt(), receipt(roles=("idle_shutdown", "cluster_keys"), idle_shutdown="a changed")]
    _, player = launch_on([HEAD, ONE], monkeypatch, receipts=receipts)
    sent = [call.kwargs["input"].splitlines()[-1] for call in player.fleet.connections.run.call_args_list]
    assert sent[2] == "keep(['cluster_keys'])"
    assert "'cluster_keys'" in sent[3]
    assert sent[3].startswith("write({")


def test_only_the_hosts_of_the_playbook_get_a_new_receipt(monkeypatch: pytest.MonkeyPatch) -> None:
    receipts = [receipt(), receipt(ray_node="a is missing"), receipt()]
    _, player = launch_on([HEAD, ONE, TWO], monkeypatch, receipts=receipts, played=[ONE])
    assert calls_of(player)[3:] == ["keep", "write"]
    assert player.fleet.connections.run.call_args.args[0] == ONE


def test_receipts_are_written_last_and_only_on_hosts_that_are_ready(monkeypatch: pytest.MonkeyPatch) -> None:
    _, player = launch_on([HEAD, ONE, TWO], monkeypatch, broken=[TWO])
    assert calls_of(player) == [*["verify"] * 3, *["keep"] * 3, *["write"] * 2]
    written = [call.args[0] for call in player.fleet.connections.run.call_args_list[-2:]]
    assert {host.name for host in written} == {HEAD.name, ONE.name}


def test_hosts_that_were_rebooted_during_the_launch_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each host receives the id of the boot in which it was verified."""
    received: list[Event] = []
    receipts = [receipt(), receipt(ray_node="a is missing", boot="b1"), receipt(ray_node="a is missing", boot="b2")]
    _, player = launch_on([HEAD, ONE, TWO], monkeypatch, receipts=receipts, rebooted=[TWO], received=received)
    [notice] = [one for one in received if isinstance(one, Notice) and one.warning]
    assert notice.message == f"{TWO.name}: rebooted during this launch; launch again to repeat what a reboot undoes"
    written = [call for call in player.fleet.connections.run.call_args_list if "\nwrite(" in call.kwargs["input"]]
    assert {call.args[0]: call.kwargs["input"].rstrip()[-5:-1] for call in written} == {ONE: "'b1'", TWO: "'b2'"}


@pytest.mark.parametrize("change", ["keep", "write"])
def test_a_factory_whose_receipt_cannot_be_changed_fails_alone(monkeypatch: pytest.MonkeyPatch, change: str) -> None:
    receipts = [receipt(ray_node="a is missing")] * 3
    result, player = launch_on([HEAD, ONE, TWO], monkeypatch, receipts=receipts, refused=(change, [TWO]))
    assert result.hosts == (HEAD, ONE)
    assert [(one.host, one.error.message) for one in result.failed] == [(TWO, "read-only")]
    # Without its receipt cut, an interrupted play would not be found: nothing is played there.
    assert player.play.call_args.kwargs["limit"] == ([HEAD.name, ONE.name] if change == "keep" else [])


@pytest.mark.parametrize("change", ["keep", "write"])
def test_an_orchestrator_whose_receipt_cannot_be_changed_fails_the_launch(
    monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    with pytest.raises(RemoteCommandError, match="read-only"):
        launch_on([HEAD, ONE], monkeypatch, receipts=[receipt(ray_node="a")] * 2, refused=(change, [HEAD]))


def test_without_another_host_to_play_no_playbook_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    receipts = [receipt(), receipt(), receipt(ray_node="a is missing")]
    result, player = launch_on([HEAD, ONE, TWO], monkeypatch, receipts=receipts, refused=("keep", [TWO]))
    player.play.assert_not_called()
    assert (result.hosts, [one.host for one in result.failed]) == ((HEAD, ONE), [TWO])


def test_a_receipt_has_the_roles_of_the_last_one_and_those_played() -> None:
    results = {"ray_node": Status.CHANGED, "cluster_secrets": Status.SKIPPED}
    roles = {name: RoleResult(status=status, seconds=1.0) for name, status in results.items()}
    played = HostResult(host=HEAD.name, roles=roles)
    assert converging._list_roles({"flambe"}, played) == ["flambe", "ray_node"]


def test_a_receipt_does_not_depend_on_options_of_one_launch() -> None:
    def variables(**once: bool) -> dict[str, Any]:
        player = create_autospec(Player, instance=True, fleet=make_fleet(), variables=lambda: {"a": 1, **once})
        return dict(make_receipts(player, make_runtime("none")).variables)

    assert variables(setup_cmds_rerun=True, ray_node_rotate_token=True) == variables(setup_cmds_rerun=False) == {"a": 1}


@pytest.mark.parametrize(
    ("receipts", "dead", "messages"),
    [
        ([receipt("has version 2")] * 2, "", [f"{HEAD.name}, {ONE.name}: has version 2"]),
        (
            [receipt(cluster_keys="the configuration changed")] * 3,
            "",
            ["all hosts: the configuration of cluster_keys changed"],
        ),
        ([receipt("no launch has completed", roles=())] * 2, "", []),
        ([receipt(ray_node="a is missing"), receipt()], "", [f"{HEAD.name}: a is missing"]),
        ([receipt()] * 2, ONE.name, [f"{ONE.name}: Ray has no live node on it"]),
    ],
)
def test_the_reason_of_a_playbook_is_reported(
    monkeypatch: pytest.MonkeyPatch, receipts: list[str], dead: str, messages: list[str]
) -> None:
    received: list[Event] = []
    nodes = make_nodes((HEAD, ONE, TWO), dead=(dead,))
    launch_on([HEAD, ONE, TWO], monkeypatch, nodes=nodes, receipts=[*receipts, receipt()], received=received)
    assert [event.message for event in received if isinstance(event, Notice)] == messages


T4 = HostGpus(state=GpuState.OK, gpus=(Gpu(index=0, name="Tesla T4", capability="7.5"),), visible=1)


def test_a_factory_whose_ray_has_fewer_gpus_than_nvidia_smi_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    received: list[Event] = []
    nodes = make_nodes((HEAD, ONE, TWO))
    found = {HEAD.name: HostGpus(state=GpuState.NONE), ONE.name: T4, TWO.name: HostGpus(state=GpuState.NONE)}
    result, _ = launch_on([HEAD, ONE, TWO], monkeypatch, nodes=nodes, gpus=found, received=received)
    assert result.hosts == (HEAD, TWO)
    [failed] = result.failed
    assert (failed.host, failed.error.exit_code) == (ONE, 7)
    assert failed.error.message == f"{ONE.name}: Ray has 0 of 1 GPUs that nvidia-smi lists"
    steps = [one for one in received if isinstance(one, StepEvent) and one.status is Status.FAILED]
    assert [(one.host, one.step) for one in steps] == [(ONE.name, "ray")]


def test_an_orchestrator_whose_ray_has_fewer_gpus_fails_the_launch(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(RayError, match=f"{HEAD.name}: Ray has 0 of 1 GPUs"):
        launch_on([HEAD, ONE], monkeypatch, nodes=make_nodes((HEAD, ONE)), gpus={HEAD.name: T4})


def test_a_host_with_another_number_of_gpus_in_ray_is_played_again(monkeypatch: pytest.MonkeyPatch) -> None:
    roles = ("cluster_gpu", "flambe", "ray_node")
    options: dict[str, Any] = {"receipts": [receipt(roles=roles)] * 3, "nodes": make_nodes((HEAD, ONE, TWO))}
    more = replace(options["nodes"].nodes[2], resources={"GPU": 2.0})
    options["nodes"] = replace(options["nodes"], nodes=(*options["nodes"].nodes[:2], more))
    received: list[Event] = []
    _, player = launch_on([HEAD, ONE, TWO], monkeypatch, gpus={TWO.name: T4}, received=received, **options)
    assert player.play.call_args.kwargs["tags"] == ["ray_node_first"]
    assert player.play.call_args.kwargs["limit"] == [TWO.name]
    messages = [one.message for one in received if isinstance(one, Notice)]
    assert messages == [f"{TWO.name}: Ray has 2 GPUs, nvidia-smi lists 1"]


def test_gpus_that_do_not_work_are_played_again(monkeypatch: pytest.MonkeyPatch) -> None:
    broken = replace(T4, state=GpuState.ERROR, error="nvidia-smi: GPU 0: ERR!")
    roles, nodes = ("cluster_gpu", "flambe", "ray_node"), make_nodes((HEAD, ONE))
    receipts = [receipt(roles=roles)] * 2
    _, player = launch_on([HEAD, ONE], monkeypatch, nodes=nodes, receipts=receipts, gpus={ONE.name: broken})
    assert player.play.call_args.kwargs["tags"] == ["cluster_gpu", "ray_node"]
    assert player.play.call_args.kwargs["limit"] == [ONE.name]
