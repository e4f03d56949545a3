"""GPUs in a launch: what the runtime cannot use, and what Ray has."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from flambe_ansible.gpus import Gpu, GpuState, HostGpus
from flambe_ansible.hosts import Role
from flambe_ansible.launch import gpus
from flambe_ansible.launch.plan import Action, PlannedHost
from flambe_ansible.runtimes.ray_service import RayNode, RayNodes
from tests.unit.cli.made_up import make_host

HEAD, ONE, TWO = HOSTS = (make_host(), make_host(0), make_host(1))
T4 = Gpu(index=0, name="Tesla T4", memory=15360, capability="7.5")
H200 = Gpu(index=1, name="NVIDIA H200", memory=143771, capability="9.0")
NONE = HostGpus(state=GpuState.NONE)
BOTH = frozenset(Role)


def some(*found: Gpu, visible: int | None = None) -> HostGpus:
    return HostGpus(state=GpuState.OK, gpus=found, visible=len(found) if visible is None else visible)


def test_factories_with_newer_gpus_are_refused_by_name() -> None:
    found = {HEAD.name: some(H200), ONE.name: some(T4, H200), TWO.name: some(T4)}
    errors = gpus.refuse_newer(HOSTS, found, limit=7.5, runtime="flambe")
    assert {name: error.message for name, error in errors.items()} == {
        "demo_factory_0": (
            "demo_factory_0: GPU 1 (NVIDIA H200) has CUDA compute capability 9.0; runtime flambe supports CUDA compute"
            " capability 7.5 at most: set runtime: ray, or nvidia_driver: ignore to use only the CPUs"
        )
    }
    assert gpus.refuse_newer(HOSTS, found, limit=None, runtime="ray") == {}
    assert gpus.refuse_newer(HOSTS, {}, limit=7.5, runtime="flambe") == {}


def test_the_plan_has_the_gpus_of_the_last_launch_and_what_will_be_refused() -> None:
    planned = [PlannedHost(name=host.name, role=host.role, action=Action.REUSE, host=host) for host in HOSTS]
    found = {HEAD.name: NONE, ONE.name: some(H200)}
    hosts, notes = gpus.add_to_plan(planned, found, limit=7.5, runtime="flambe")
    assert [one.gpus for one in hosts] == ["", "1 x NVIDIA H200, 140 GiB", ""]
    assert [note.partition(":")[0] for note in notes] == ["demo_factory_0"]


@pytest.mark.parametrize(
    ("variables", "roles"),
    [
        ({}, BOTH),
        ({"cluster_gpu_driver": "install"}, BOTH),
        ({"cluster_gpu_driver": "ignore"}, frozenset()),
        ({"cluster_factories_resources": {"GPU": 1}}, {Role.ORCHESTRATOR}),
        ({"cluster_orchestrator_resources": {"GPU": 0}, "cluster_factories_resources": None}, {Role.FACTORY}),
    ],
)
def test_roles_whose_gpus_are_compared(variables: Mapping[str, Any], roles: Any) -> None:
    assert gpus.list_counted_roles(variables) == roles


def make_nodes(*numbers: float) -> RayNodes:
    nodes = [
        RayNode(address=host.private_ip, alive=True, resources={"GPU": number} if number else {})
        for host, number in zip(HOSTS, numbers, strict=False)
    ]
    return RayNodes(nodes=(*nodes, RayNode(address=ONE.private_ip, alive=False, resources={"GPU": 9})))


@pytest.mark.parametrize(
    ("nodes", "found", "roles", "different"),
    [
        (make_nodes(0, 2, 0), {ONE.name: some(T4, H200), TWO.name: NONE}, BOTH, {}),
        (make_nodes(0, 1, 0), {ONE.name: some(T4, H200), TWO.name: some(T4)}, BOTH,
         {ONE.name: (1, 2), TWO.name: (0, 1)}),
        (make_nodes(0, 2, 0), {ONE.name: some(T4)}, BOTH, {ONE.name: (2, 1)}),
        (make_nodes(0, 1, 0), {ONE.name: some(T4, H200, visible=1)}, BOTH, {}),
        (make_nodes(0, 1), {ONE.name: some(T4, H200)}, {Role.ORCHESTRATOR}, {}),
        (make_nodes(0), {ONE.name: some(T4)}, BOTH, {}),  # no live node: reported elsewhere
        (make_nodes(0, 2), {ONE.name: HostGpus(state=GpuState.TIMEOUT)}, BOTH, {}),
        (make_nodes(0, 2), {ONE.name: HostGpus(state=GpuState.ERROR, gpus=(T4,), visible=1)}, BOTH, {}),
        (make_nodes(0, 2), {}, BOTH, {}),
    ],
)  # fmt: skip
def test_the_gpus_of_ray_and_of_nvidia_smi(
    nodes: RayNodes, found: Mapping[str, HostGpus], roles: Any, different: Mapping[str, tuple[int, int]]
) -> None:
    assert gpus.compare_with_ray(nodes, HOSTS, found, roles=roles) == different


def test_the_error_names_hosts_and_what_to_do() -> None:
    error = gpus.make_error({ONE.name: (0, 1), TWO.name: (1, 8)}, unit="flambe-ray.service")
    assert error.message == (
        "demo_factory_0: Ray has 0 of 1 GPUs that nvidia-smi lists; demo_factory_1: Ray has 1 of 8 GPUs that nvidia-smi"
        " lists"
    )
    assert error.missing == (ONE.name, TWO.name)
    assert "factories_resources" in (error.hint or "")
    assert gpus.describe_difference(2, 1) == "Ray has 2 GPUs, nvidia-smi lists 1"


BROKEN = HostGpus(state=GpuState.ERROR, gpus=(T4,), error="nvidia-smi: GPU 1: ERR!")


@pytest.mark.parametrize(
    ("found", "played", "variables", "reason"),
    [
        (None, (), {}, ""),
        (NONE, (), {}, ""),
        (HostGpus(), (), {}, ""),
        (some(T4), ("cluster_gpu",), {}, ""),
        (some(T4), ("ray_node",), {}, "its GPUs are new"),
        (BROKEN, ("cluster_gpu",), {}, "nvidia-smi: GPU 1: ERR!"),
        (BROKEN, ("cluster_gpu",), {"cluster_gpu_driver": "ignore"}, ""),
    ],
)
def test_when_the_role_is_played_again(found: HostGpus | None, played: Any, variables: Any, reason: str) -> None:
    assert gpus.find_reason(found, played, variables) == reason
