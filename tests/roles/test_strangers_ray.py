"""Roles cluster_keys, ray_node and flambe in playbooks of other users, on the hosts of ``test_strangers.py``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from flambe_ansible.pythons import find_uv
from tests.roles.examples import read_example
from tests.roles.lab_hosts import Site

pytestmark = pytest.mark.lab

NODES = ("node-a", "node-b")
JOIN = "Start or restart Ray with the facts of the head"
START = "Start Ray on all hosts"


@pytest.fixture(scope="module")
def workers(strangers: Site) -> Site:
    """Return the hosts of ``strangers`` under the names of the examples in the READMEs."""
    (strangers.folder / "nodes").mkdir()
    hosts = [host for _, host in strangers.groups["gpu_boxes"]]
    return Site(strangers.folder / "nodes", strangers.key, {"workers": list(zip(NODES, hosts, strict=True))})


def write(site: Site, text: str) -> Path:
    path = site.folder / "play.yml"
    path.write_text(text)
    return path


def play_of(site: Site, role: str, **variables: Any) -> Path:
    """Write a play of a role with other variables than in the README's example."""
    roles = [{"role": f"flambe.cluster.{role}", "vars": variables}]
    return write(site, yaml.safe_dump([{"hosts": "workers", "gather_facts": False, "roles": roles}]))


def converge_twice(site: Site, path: Path) -> None:
    """Run in check mode, twice for real, and in check mode again."""
    assert set(site.play(path, "--check").assert_ok().changed) == set(NODES)
    assert set(site.play(path).assert_ok().changed) == set(NODES)
    site.play(path).assert_unchanged()
    site.play(path, "--check", "--diff").assert_unchanged()


def test_the_keys_of_a_cluster_need_one_play(workers: Site) -> None:
    example = read_example("cluster_keys")
    for keyword, expected in (
        (
            "serial: 1",
            "node-a has no host keys of node-b, which this play has not read: run role cluster_keys in one play",
        ),
        ("strategy: free", "with the linear strategy"),
    ):
        run = workers.play(write(workers, example.replace("hosts: workers", f"hosts: workers\n  {keyword}")))
        assert run.returncode == 2
        assert expected in run.output
        assert "node-b" not in run.changed
    converge_twice(workers, write(workers, example))
    workers.play(write(workers, example.replace("hosts: workers", "hosts: workers\n  serial: 1"))).assert_unchanged()
    ssh = "ssh -i ~/ray_bootstrap_key.pem node-b hostname"
    assert workers.ssh("node-a", f"sudo -iu ml {ssh}") == workers.ssh("node-b", "hostname")


def test_two_environments_on_one_host_do_not_compete_for_a_link(workers: Site) -> None:
    variables = {
        "flambe_root": "{{ item }}",
        "flambe_requirements": ["charset-normalizer==3.4.0"],
        "flambe_extra_packages": [],
        "flambe_imports": [],
        "flambe_links": ["normalizer", "no-such-command"],
        "flambe_python_version": "3.11",
        "flambe_python_url": "",
        "flambe_uv_src": str(find_uv()),
    }
    role = {"ansible.builtin.include_role": {"name": "flambe.cluster.flambe"}}
    task = {**role, "vars": variables, "loop": ["/opt/first", "/opt/second"]}
    path = write(workers, yaml.safe_dump([{"hosts": "node-a", "gather_facts": False, "tasks": [task]}]))
    workers.play(path).assert_ok()
    assert workers.ssh("node-a", "readlink /usr/local/bin/normalizer") == "/opt/first/venv/bin/normalizer\n"
    assert workers.ssh("node-a", "ls /usr/local/bin | grep no-such; :") == ""
    workers.play(path).assert_unchanged()


@pytest.mark.long
def test_the_example_of_ray_node_and_its_states(workers: Site) -> None:
    [environment] = [
        one for one in yaml.safe_load(read_example("python_env"))[0]["roles"] if "python_env" in one["role"]
    ]
    workers.play(play_of(workers, "python_env", **environment["vars"])).assert_ok()
    example = read_example("ray_node")
    wanted = yaml.safe_load(example)[0]["roles"][0]["vars"]
    wrong = workers.play(play_of(workers, "ray_node", **wanted, ray_node_options=["--block"], ray_node_port=11000))
    assert set(wrong.failed) == set(NODES)
    assert wrong.results[START, "node-b"]["msg"] == "ray_node_options has --block, which the role sets: remove it"
    wrong = workers.play(play_of(workers, "ray_node", **wanted, ray_node_port=11000), "--limit", "node-a")
    expected = "ray_node_port is 11000, which is in the range of Ray's workers, 10002 to 11999"
    assert wrong.results[START, "node-a"]["msg"].startswith(expected)
    assert "ray-nodes" not in workers.ssh("node-a", "ls /opt/ray/bin")

    path = write(workers, example)
    converge_twice(workers, path)
    head = workers.groups["workers"][0][1].address
    assert f"{head}:6379" in workers.play(path).assert_unchanged().output
    nodes = json.loads(workers.ssh("node-a", "sudo -u ml /opt/ray/bin/ray-nodes"))["nodes"]
    assert {node["address"]: node["resources"]["accelerator"] for node in nodes} == {
        host.address: 2.0 for _, host in workers.groups["workers"]
    }
    assert next(node for node in nodes if node["address"] == head)["resources"]["CPU"] == 1.0

    workers.ssh("node-b", "sudo systemctl kill --signal=KILL flambe-ray")
    again = workers.play(path).assert_ok()  # while systemd restarts it
    assert again.results[JOIN, "node-b"]["msg"] == "nothing to do"

    for state, left in (("stopped", "flambe-ray.service disabled"), ("absent", "")):
        ended = play_of(workers, "ray_node", **wanted, ray_node_state=state)
        converge_twice(workers, ended)
        for node in NODES:
            assert workers.ssh(node, "systemctl is-active flambe-ray; :") == "inactive\n"
            listed = workers.ssh(node, "systemctl list-unit-files --no-legend flambe-ray.service; :")
            assert " ".join(listed.split()[:2]) == left
            assert "flambe_ray" not in workers.ssh(node, "sudo nft list tables")
    for node in NODES:
        assert "ray" not in workers.ssh(node, "test -x /opt/ray/venv/bin/ray && ls /opt/ray/bin")
