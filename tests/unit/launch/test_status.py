"""The state of a cluster, and the JSON document of its status."""

from __future__ import annotations

import pytest

from flambe_ansible.fleet.idle import IdleState
from flambe_ansible.gpus import Gpu, GpuState, HostGpus
from flambe_ansible.hosts import Host, HostState, Role
from flambe_ansible.launch.status import (
    ClusterState,
    ClusterStatus,
    Health,
    compare_clients,
    compare_gpus,
    derive_state,
)
from flambe_ansible.runtimes import ray_versions
from flambe_ansible.runtimes.flambe import FlambeRuntime
from flambe_ansible.runtimes.ray import RayRuntime
from flambe_ansible.runtimes.ray_service import RayNode, RayNodes

RUNNING, PENDING, STOPPED, ENDING = (
    HostState.RUNNING,
    HostState.PENDING,
    HostState.STOPPED,
    HostState.SHUTTING_DOWN,
)


def make_hosts(*states: HostState) -> list[Host]:
    return [
        Host(
            name=f"c_{'orchestrator' if index == 0 else f'factory_{index - 1}'}",
            role=Role.ORCHESTRATOR if index == 0 else Role.FACTORY,
            index=max(index - 1, 0),
            state=state,
            private_ip=f"10.0.0.{index + 1}",
            instance_id=f"i-{index}",
        )
        for index, state in enumerate(states)
    ]


def make_ray(*alive: bool) -> RayNodes:
    nodes = tuple(RayNode(address=f"10.0.0.{index + 1}", alive=one) for index, one in enumerate(alive))
    return RayNodes(version="0.7.6", nodes=nodes)


@pytest.mark.parametrize(
    ("states", "launching", "prepared", "ray", "expected"),
    [
        ((), False, False, None, ClusterState.ABSENT),
        ((), True, False, None, ClusterState.PROVISIONING),
        ((PENDING, PENDING, PENDING), True, False, None, ClusterState.PENDING),
        ((RUNNING, PENDING, RUNNING), False, False, None, ClusterState.PENDING),
        ((RUNNING, RUNNING, RUNNING), True, False, None, ClusterState.PROVISIONING),
        ((RUNNING, RUNNING, RUNNING), False, False, None, ClusterState.PROVISIONING),
        ((RUNNING, RUNNING, RUNNING), False, True, make_ray(True, True, True), ClusterState.RUNNING),
        ((RUNNING, RUNNING, RUNNING), False, True, make_ray(True, True, False), ClusterState.DEGRADED),
        ((RUNNING, RUNNING, RUNNING), False, True, make_ray(True, True), ClusterState.DEGRADED),
        ((RUNNING, RUNNING, RUNNING), False, True, RayNodes(error="no answer"), ClusterState.DEGRADED),
        ((RUNNING, RUNNING, RUNNING), False, True, None, ClusterState.DEGRADED),
        ((RUNNING, RUNNING), False, True, make_ray(True, True), ClusterState.DEGRADED),
        ((RUNNING, RUNNING, ENDING), False, True, make_ray(True, True), ClusterState.DEGRADED),
        ((RUNNING, RUNNING, RUNNING, ENDING), False, True, make_ray(True, True, True), ClusterState.RUNNING),
        ((RUNNING, STOPPED, RUNNING), False, True, make_ray(True, True, True), ClusterState.DEGRADED),
        ((STOPPED, STOPPED, STOPPED), False, True, None, ClusterState.STOPPED),
        ((ENDING, ENDING, ENDING), False, True, None, ClusterState.TERMINATING),
    ],
)
def test_the_state_is_derived(
    states: tuple[HostState, ...], launching: bool, prepared: bool, ray: RayNodes | None, expected: ClusterState
) -> None:
    hosts = make_hosts(*states)
    health = Health(prepared=prepared, ray=ray)
    assert derive_state(hosts, factories_num=2, launching=launching, health=health, has_ray=True) is expected


@pytest.mark.parametrize(
    ("health", "expected"),
    [
        (Health(prepared=True), ClusterState.RUNNING),
        (Health(prepared=True, silent={"c_factory_0": "no SSH"}), ClusterState.DEGRADED),
        (Health(), ClusterState.PROVISIONING),
        (Health(unreachable="no answer"), ClusterState.DEGRADED),
    ],
)
def test_the_state_without_ray(health: Health, expected: ClusterState) -> None:
    hosts = make_hosts(RUNNING, RUNNING)
    assert derive_state(hosts, factories_num=1, launching=False, health=health, has_ray=False) is expected


def test_a_cluster_without_its_orchestrator_is_degraded() -> None:
    factories = make_hosts(RUNNING, RUNNING, RUNNING)[1:]
    state = derive_state(factories, factories_num=2, launching=False, health=Health(), has_ray=True)
    assert state is ClusterState.DEGRADED


def test_the_document_counts_the_hosts_on_which_ray_is_alive() -> None:
    head, *factories = make_hosts(RUNNING, RUNNING, RUNNING)
    stranger = RayNode(address="10.9.9.9", alive=True)
    answer = RayNodes(version="0.7.6", nodes=(*make_ray(True, False, True).nodes, stranger))
    idle = {factories[0].name: IdleState(checked="2026-11-30T10:00:00Z", age=5, interval=60, timeout=300)}
    status = ClusterStatus(
        name="c", state=ClusterState.DEGRADED, orchestrator=head, factories=tuple(factories), ray=answer, idle=idle
    )
    document = status.to_dict()
    assert document["name"] == "c"
    assert document["state"] == "degraded"
    assert document["ray"] == {"alive": 2, "version": "0.7.6", "error": ""}
    assert document["orchestrator"] == {
        "name": "c_orchestrator",
        "instance_id": "i-0",
        "state": "running",
        "public_ip": None,
        "private_ip": "10.0.0.1",
        "instance_type": "",
        "zone": "",
        "spot": False,
        "ray": True,
        "error": "",
        "idle": None,
        "gpus": None,
    }
    assert [factory["idle"] for factory in document["factories"]] == [
        {
            "checked": "2026-11-30T10:00:00Z",
            "idle_since": "",
            "busy": [],
            "ends": "",
            "kept_until": "",
            "latest_end": "",
            "late": False,
        },
        None,
    ]
    assert [factory["ray"] for factory in document["factories"]] == [False, True]


@pytest.mark.parametrize(
    ("version", "python", "expected"),
    [
        ("2.60.0", "3.11.9", ""),
        ("2.59.0", "3.11.9", "the cluster has Ray 2.59.0 on Python 3.11.9"),
        ("2.60.0", "3.12.3", "the cluster has Ray 2.60.0 on Python 3.12.3"),
    ],
)
def test_a_client_of_this_machine_that_does_not_fit_is_noted(
    version: str, python: str, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    local = ray_versions.LocalRay(version="2.60.0", python="3.11.2", origin="installed in this environment")
    monkeypatch.setattr(ray_versions, "find_local", lambda: local)
    nodes = RayNodes(version=version, python=python)
    notes = compare_clients(RayRuntime(), nodes)
    assert bool(notes) == bool(expected)
    for note in notes:
        assert note.startswith(f"Ray 2.60.0 on Python 3.11.2 is installed in this environment, {expected}: ray.init(")
    assert compare_clients(RayRuntime(), RayNodes(error="no answer")) == ()
    assert compare_clients(FlambeRuntime(), nodes) == ()
    assert ClusterStatus(name="c", state=ClusterState.RUNNING, notes=notes).to_dict().get("notes", []) == list(notes)
    monkeypatch.setattr(ray_versions, "find_local", lambda: None)
    assert compare_clients(RayRuntime(), nodes) == ()


def test_the_document_without_hosts() -> None:
    document = ClusterStatus(name="c", state=ClusterState.ABSENT).to_dict()
    assert document == {
        "name": "c",
        "state": "absent",
        "region": "",
        "account": "",
        "orchestrator": None,
        "factories": [],
        "interrupted": [],
        "runtime": "flambe",
        "ray": {"alive": 0, "version": "", "error": ""},
        "run": None,
        "costs": None,
        "reservation": None,
    }


def test_the_document_has_the_gpus_of_each_host() -> None:
    head, factory = make_hosts(RUNNING, RUNNING)
    found = HostGpus(state=GpuState.OK, gpus=(Gpu(index=0, name="T4", memory=15360),), visible=1)
    status = ClusterStatus(
        name="c", state=ClusterState.RUNNING, orchestrator=head, factories=(factory,), gpus={factory.name: found}
    )
    document = status.to_dict()
    assert document["orchestrator"]["gpus"] is None
    assert document["factories"][0]["gpus"] == {
        "state": "ok",
        "error": "",
        "visible": 1,
        "gpus": [
            {
                "index": 0,
                "name": "T4",
                "uuid": "",
                "memory": 15360,
                "driver": "",
                "capability": "",
                "mig": False,
                "mig_devices": (),
            }
        ],
    }
    health = Health(gpus={factory.name: found})
    assert compare_gpus(make_ray(True, True), [head, factory], health, {}) == [
        "c_factory_0: Ray has 0 of 1 GPUs; launch again"
    ]
    assert compare_gpus(make_ray(True, True), [head, factory], health, {"cluster_gpu_driver": "ignore"}) == []
    assert compare_gpus(None, [head, factory], health, {}) == []
