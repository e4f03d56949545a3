"""Settings of Ray that are refused before anything is written."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.flambe.cluster.plugins.module_utils import ray_settings

from tests.unit.plugins.test_ray_unit import PORTS, SETTINGS

PARAMS: dict[str, Any] = {
    **SETTINGS,
    "head": True,
    "head_state": "present",
    "address": "",
    "allow": [],
}


def find_problems(**changes: Any) -> list[str]:
    try:
        ray_settings.check({**PARAMS, **changes})
    except ray_settings.SettingsError as error:
        return str(error).splitlines()
    return []


def find_collisions(version: str, **changes: Any) -> list[str]:
    try:
        ray_settings.check_collisions(version, {**PARAMS, **changes})
    except ray_settings.SettingsError as error:
        return str(error).splitlines()
    return []


def test_settings_that_are_accepted() -> None:
    assert find_problems() == []
    assert find_problems(
        port=12345,
        ports={**PORTS, "worker_min": "20000", "worker_max": 20999},
        resources={"CPU": 2, "accelerator": 0.5},
        labels={"zone": "eu-1", "ray.io/kind": "x"},
        object_store_memory=80_000_000,
        temp_dir="/var/ray",
        address="fd00::1",
        allow=["10.1.0.0/16", "10.0.0.9", "bastion.example.com"],
        options=["--log-style", "record", "--node-name=a"],
        client_port=0,
    ) == []  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"ports": {**PORTS, "metric": 1}}, "ray_node_ports has the unknown name metric; did you mean metrics?"),
        (
            {"ports": {"worker_min": 1}},
            "ray_node_ports has no node_manager, object_manager, runtime_env_agent, agent_grpc, agent_http, metrics,"
            " worker_max; expected all names, or use ray_node_min_worker_port and"
            " ray_node_max_worker_port for the ports of workers",
        ),
        (
            {"ports": {**PORTS, "worker_min": 20000}},
            "the range of Ray's workers, 20000 to 19999, is empty; expected ray_node_min_worker_port to be smaller",
        ),
        ({"head": False, "head_state": "stopped"}, "ray_node_state is stopped on the head: no host can join it"),
        ({"head_cpus": -1}, "ray_node_head_cpus is -1; expected 0 or more"),
        ({"object_store_memory": 1}, "ray_node_object_store_memory is 1 bytes; expected 0 or at least 78643200"),
        ({"resources": {"CPU": -1}}, "ray_node_resources.CPU is -1; expected a number, such as 1"),
        ({"resources": {"a": "two"}}, "ray_node_resources.a is 'two'; expected a number, such as 1"),
        (
            {"labels": {"zone": "a,b=c"}},
            "ray_node_labels has zone: a,b=c; expected letters, digits and the characters _ . / -",
        ),
        ({"address": "node-a"}, "ray_node_address is node-a; expected an IP address, such as 10.0.0.4"),
        (
            {"allow": ["10.1.0.0/33"]},
            "ray_node_allow has 10.1.0.0/33; expected an address or a network, such as 10.1.0.0/16",
        ),
        ({"options": ["--num-cpus=4"]}, "ray_node_options has --num-cpus, which the role sets: use ray_node_resources"),
        ({"options": ["--port", "7"]}, "ray_node_options has --port, which the role sets: use ray_node_port"),
        (
            {"options": ["--max_worker_port=7"]},
            "ray_node_options has --max-worker-port, which the role sets: use ray_node_max_worker_port",
        ),
        ({"options": ["--block"]}, "ray_node_options has --block, which the role sets: remove it"),
    ],
)
def test_every_problem_is_one_line_with_the_variable(changes: dict[str, Any], expected: str) -> None:
    assert find_problems(**changes) == [expected]


def test_all_problems_are_reported() -> None:
    assert len(find_problems(head_cpus=-1, object_store_memory=1, options=["--block"])) == 3


def test_every_option_that_the_role_writes_is_refused_as_a_further_option() -> None:
    settings = {
        **PARAMS,
        "labels": {"a": "b"},
        "object_store_memory": 10**8,
        "temp_dir": "/t",
        "resources": {"a": 1, "GPU": 1},
    }
    for version in ("0.7.6", "2.60.0"):
        for head in (True, False):
            written = ray_settings.ray_unit.start_options(
                version, head, "10.0.0.1", "10.0.0.9", settings if version > "1" else PARAMS
            )
            for option in written:
                assert find_problems(options=[option]), option


def test_ports_of_one_host_differ() -> None:
    assert find_collisions("2.60.0") == find_collisions("0.7.6", port=12345) == []
    # A worker only connects to the port of the head.
    assert find_collisions("2.60.0", port=12345, head=False) == []
    assert find_collisions("2.60.0", port=12345) == [
        "ray_node_port is 12345, which is in the range of Ray's workers, 10002 to 19999: choose another port, or move"
        " the range with ray_node_min_worker_port and ray_node_max_worker_port"
    ]
    assert find_collisions("2.60.0", dashboard_port=6380) == [
        "ray_node_dashboard_port and ray_node_ports.node_manager are both 6380: choose different ports"
    ]
