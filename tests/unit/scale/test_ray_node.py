"""What role ray_node sends to all hosts, with the role's own templates."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.scale.templates import HostVars, make_templar, read, trust

ROLE = "ray_node"
START = "Start the head, and collect the addresses of all hosts"
JOIN = "Join the head, and wait until all hosts are alive"


def find_task(name: str) -> dict[str, Any]:
    [block] = read(ROLE, "tasks/main.yml")
    [task] = [one for one in block["block"] if one["name"] == name]
    return dict(task)


def make(hosts: int, name: str, **changes: Any) -> tuple[Any, HostVars]:
    """Return a host's templates, and the variables of all hosts, after the first task of the role."""
    names = [f"node-{index}" for index in range(hosts)]
    started = {"state": "present", "token": "x", "needs_token": False, "rejoins": False}
    hostvars = HostVars(
        {
            one: {
                "inventory_hostname": one,
                "private_ip": f"10.0.{index >> 8}.{index & 255}",
                "__ray_node_started": {**started, "address": f"10.0.{index >> 8}.{index & 255}"},
            }
            for index, one in enumerate(names)
        }
    )
    variables = {
        "inventory_hostname": name,
        "ansible_play_hosts": names,
        "ansible_play_hosts_all": names,
        "hostvars": hostvars,
        "__ray_node_started": started,
        "__ray_node_token": {},
        **changes,
    }
    return make_templar(ROLE, **variables), hostvars


def survey(hosts: int, **changes: Any) -> Any:
    task = find_task("List the addresses of the hosts once for all of them")
    assert task["run_once"] is True
    templar, _ = make(hosts, "node-0", **changes)
    return templar.template(trust(task["ansible.builtin.set_fact"]))["__ray_node_surveyed"]


def send(hosts: int, name: str, task: str = JOIN, **changes: Any) -> tuple[dict[str, Any], int]:
    """Return the arguments of a task on one host, and how often it read the variables of a host."""
    templar, hostvars = make(hosts, name, **changes)
    [block] = read(ROLE, "tasks/main.yml")
    common = block["module_defaults"]["flambe.cluster.ray_node"]
    files = ("script", "address_script")  # are looked up in the role's folder
    words = {name: value for name, value in common.items() if name not in files}
    return templar.template(trust({**words, **find_task(task)["flambe.cluster.ray_node"]})), hostvars.reads


def test_all_hosts_are_allowed() -> None:
    arguments, _ = send(3, "node-1", __ray_node_surveyed=survey(3), ray_node_allow=["10.9.0.0/16"])
    assert arguments["allow"] == "10.9.0.0/16,10.0.0.0,10.0.0.1,10.0.0.2"
    assert arguments["keep_allowed"] is False
    first, _ = send(3, "node-0", START)
    assert first["allow"] == "10.0.0.0,10.0.0.1,10.0.0.2"


def test_earlier_addresses_are_kept_if_hosts_are_outside_of_the_play() -> None:
    changes = {"ansible_play_hosts_all": ["node-1"], "ray_node_members": ["node-0", "node-1"]}
    arguments, _ = send(3, "node-1", __ray_node_surveyed=survey(3, **changes), **changes)
    assert arguments["keep_allowed"] is True


def test_hosts_of_another_cluster_in_the_same_play_use_their_own_members() -> None:
    surveyed = survey(4, ray_node_members=["node-0", "node-1"])
    second = {"ray_node_head": "node-2", "ray_node_members": ["node-2", "node-3"]}
    arguments, _ = send(4, "node-3", __ray_node_surveyed=surveyed, **second)
    assert arguments["allow"] == "10.0.0.2,10.0.0.3"


@pytest.mark.parametrize("hosts", [4, 256])
def test_a_worker_reads_the_variables_of_a_few_hosts(hosts: int) -> None:
    surveyed = survey(hosts)
    for task in (START, JOIN):
        assert send(hosts, "node-1", task, __ray_node_surveyed=surveyed)[1] <= 12


def test_the_head_does_not_wait_for_a_host_whose_ray_is_stopped() -> None:
    templar, hostvars = make(3, "node-0", __ray_node_surveyed=survey(3))
    hostvars.hosts["node-2"]["__ray_node_started"]["state"] = "stopped"
    assert set(templar.template(trust("{{ __ray_node_expected }}"))) == {"node-0", "node-1"}


def test_workers_learn_the_state_of_the_head() -> None:
    templar, hostvars = make(2, "node-1")
    hostvars.hosts["node-0"]["__ray_node_started"]["state"] = "stopped"
    task = find_task(JOIN)["flambe.cluster.ray_node"]
    assert templar.template(trust(task["head_state"])) == "stopped"
