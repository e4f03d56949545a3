"""A cluster with ``runtime: ray`` in the lab: current Ray with a token, closed to hosts outside the cluster.

The tests share one cluster and run in their order; each leaves it with three live nodes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from flambe_ansible.lab import LabInfo
from tests import nvidia_smi
from tests.e2e import cloud
from tests.e2e.listeners import COMMAND, find_open, read_listeners
from tests.e2e.ray_clusters import NODES, PACKAGES, TOKEN, VERSION, RayCluster

pytestmark = [pytest.mark.lab, pytest.mark.timeout(900)]

HOSTS = ("e2e_ray_orchestrator", "e2e_ray_factory_0", "e2e_ray_factory_1")
NODE_PORTS = {6380, 6381, 6382, 6383, 6384, 6385}
HEAD_PORTS = NODE_PORTS | {6379, 10001, 44217, 44227}
UNIT = "flambe-ray.service"


@pytest.fixture(scope="module")
def stranger(lab: LabInfo) -> Iterator[str]:
    """Return a host of the same network that is not in the cluster."""
    [instance] = cloud.run(lab)
    yield instance
    cloud.client(lab).terminate_instances(InstanceIds=[instance])


def read_token(cluster: RayCluster) -> str:
    [token] = set(cluster.on_all(f"cat ~/{TOKEN}").values())
    assert re.fullmatch(r"[0-9a-f]{64}", token)
    return token


def test_a_launch_starts_ray_on_all_hosts(ray_cluster: RayCluster) -> None:
    document = ray_cluster.first_launch
    assert sorted(document["created"]) == sorted(HOSTS)
    assert (document["state"], document["runtime"], document["ray"]["alive"]) == ("running", "ray", 3)
    assert (document["ray"]["version"], document["ray"]["error"]) == (VERSION, "")
    assert "python_env" not in {step["step"] for step in document["steps"]}  # the image has its receipt
    nodes = {node["address"]: node["resources"] for node in json.loads(ray_cluster.on("orchestrator", NODES))["nodes"]}
    head = nodes[document["orchestrator"]["private_ip"]]
    assert "CPU" not in head
    for factory in document["factories"]:
        assert nodes[factory["private_ip"]]["accelerator"] == 1
        assert nodes[factory["private_ip"]]["CPU"] >= 1
    assert len(set(ray_cluster.on_all("/opt/ray/venv/bin/python -V").values())) == 1


def test_a_second_launch_changes_nothing(ray_cluster: RayCluster) -> None:
    document = ray_cluster.launch()
    assert (document["created"], set(document["changed"].values())) == ([], {0})


def test_what_differs_is_found_and_repaired(ray_cluster: RayCluster) -> None:
    """A package, a program, a rule, a unit and a file that were changed behind the back of the launch."""
    ray_cluster.on(
        "factory 0", "cd /opt/ray/venv/lib/python3*/site-packages; touch extra.py; sudo rm /opt/ray/bin/ray-jobs"
    )
    ray_cluster.on("factory 1", "sudo nft delete table inet flambe_ray")
    ray_cluster.on("orchestrator", "sudo systemctl stop flambe-tensorboard; echo >> ~/.ssh/config")
    document = ray_cluster.launch()
    assert {notice.partition(": ")[0]: notice.partition(": ")[2] for notice in document["notices"]} == {
        HOSTS[0]: "/home/ubuntu/.ssh/config changed; flambe-tensorboard.service ActiveState is inactive",
        HOSTS[1]: "the files in /opt/ray/venv changed; /opt/ray/bin/ray-jobs is missing",
        HOSTS[2]: "/opt/ray/bin/ray-firewall check: exit code 1",
    }
    changes = {(step["host"], step["step"]) for step in document["steps"] if step["status"] == "changed"}
    repaired = {(HOSTS[0], "cluster_keys"), (HOSTS[0], "tensorboard"), (HOSTS[1], "ray_jobs"), (HOSTS[2], "ray_node")}
    assert changes == repaired
    log = Path(document["log"]).read_text()
    assert "[flambe.cluster.cluster_keys : Read" in log
    assert "[flambe.cluster.setup_cmds : Run" not in log  # the roles before the first that differs are not played
    assert ray_cluster.launch()["log"] is None


def test_a_ray_whose_folder_was_removed_is_restarted(ray_cluster: RayCluster) -> None:
    """Its node stays alive without its sockets and logs, and no worker can start."""
    ray_cluster.on("factory 1", "sudo rm -rf /tmp/ray")
    assert ray_cluster.document("status")["ray"]["alive"] == 3
    document = ray_cluster.launch()
    assert document["notices"] == [f"{HOSTS[2]}: {NODES} --check-session: exit code 1"]
    changed = {step["host"]: step["detail"] for step in document["steps"] if step["status"] == "changed"}
    assert changed == {HOSTS[2]: "restart Ray: its folder for sockets and logs was removed"}
    assert document["ray"]["alive"] == 3
    assert "session_latest" in ray_cluster.on("factory 1", "ls /tmp/ray")
    assert ray_cluster.launch()["log"] is None


def test_a_changed_field_plays_only_the_role_that_reads_it(ray_cluster: RayCluster) -> None:
    ray_cluster.write(idle_command="false")
    document = ray_cluster.launch()
    assert document["notices"] == ["all hosts: the configuration of idle_shutdown changed"]
    assert {(step["host"], step["step"]) for step in document["steps"] if step["status"] == "changed"} == {
        (host, "idle_shutdown") for host in HOSTS
    }
    ray_cluster.write()
    ray_cluster.launch()


def test_the_gpus_that_nvidia_smi_lists_are_those_of_ray(ray_cluster: RayCluster) -> None:
    """A program in place of nvidia-smi prints what a machine with one H200 printed."""
    ray_cluster.send("factory 1", nvidia_smi.PATH, nvidia_smi.write_script().encode())
    ray_cluster.on("factory 1", f"sudo chmod 755 {nvidia_smi.PATH}")
    try:
        before = ray_cluster.document("status")
        assert "e2e_ray_factory_1: Ray has 0 of 1 GPUs; launch again" in before["notes"]
        assert [one["gpus"]["state"] for one in before["factories"]] == ["none", "ok"]
        launched = ray_cluster.launch()
        assert [name for name, count in launched["changed"].items() if count] == ["e2e_ray_factory_1"]
        status = ray_cluster.wait_for_nodes()
        [gpu] = status["factories"][1]["gpus"]["gpus"]
        assert (gpu["name"], gpu["memory"], gpu["capability"]) == ("NVIDIA H200", 143771, "9.0")
        assert not any("GPU" in note for note in status.get("notes", ()))
        assert "1 x NVIDIA H200, 140 GiB, driver 580.159.04: factory 1" in ray_cluster.call("status")
        nodes = {node["address"]: node for node in json.loads(ray_cluster.on("orchestrator", NODES))["nodes"]}
        found = [nodes[one["private_ip"]]["resources"].get("GPU", 0) for one in status["factories"]]
        assert found == [0, 1]
        hosts = json.loads(ray_cluster.call("inventory"))["all"]["children"]["factories"]["hosts"]
        assert [one["gpu_count"] for one in hosts.values()] == [0, 1]
        assert set(ray_cluster.launch()["changed"].values()) == {0}
    finally:
        ray_cluster.on("factory 1", f"sudo rm -f {nvidia_smi.PATH} {nvidia_smi.MODE}")
    ray_cluster.launch()
    assert ray_cluster.wait_for_nodes()["factories"][1]["gpus"]["state"] == "none"
    nodes = json.loads(ray_cluster.on("orchestrator", NODES))["nodes"]
    assert not any(node["resources"].get("GPU") for node in nodes if node["alive"])


def test_the_plan_and_the_status_name_versions(ray_cluster: RayCluster) -> None:
    plan = ray_cluster.document("launch", "--dry-run")
    assert (plan["runtime"], plan["ray_version"], plan["ray_origin"]) == ("ray", VERSION, "as configured")
    assert f"Ray: 3 of 3 nodes alive ({VERSION})" in ray_cluster.call("status")


def test_the_token_is_private_and_in_no_output(ray_cluster: RayCluster) -> None:
    token = read_token(ray_cluster)
    modes = set(ray_cluster.on_all(f"stat -c '%a %U' ~/.ray ~/{TOKEN}").values())
    assert modes == {"700 ubuntu\n600 ubuntu\n"}
    texts = [json.dumps(ray_cluster.first_launch), Path(ray_cluster.first_launch["log"]).read_text()]
    texts += ray_cluster.on_all(
        f"ps -eww -o args; systemctl cat {UNIT}; sudo journalctl -q --no-pager; sudo sh -c 'cat /proc/[0-9]*/environ' "
        "2>/dev/null | tr '\\0' '\\n'; sudo grep -r . /opt/ray/bin /opt/ray/lock.json; true"
    ).values()
    assert not [text for text in texts if token in text]


def test_it_listens_on_the_documented_ports_alone(ray_cluster: RayCluster) -> None:
    for host, ports in read_listeners(ray_cluster.on_all(COMMAND)).items():
        named = HEAD_PORTS if host.endswith("orchestrator") else NODE_PORTS
        assert named >= {port for port in ports if not 10002 <= port <= 19999}, host
        assert ports


def test_hosts_outside_the_cluster_reach_no_port(
    ray_cluster: RayCluster, lab: LabInfo, stranger: str, tmp_path: Path
) -> None:
    orchestrator = ray_cluster.first_launch["orchestrator"]["private_ip"]
    factory = ray_cluster.first_launch["factories"][0]["private_ip"]
    for address, ports in ((orchestrator, HEAD_PORTS | {8265}), (factory, NODE_PORTS)):
        assert find_open(lab, stranger, address, {22, *ports}, tmp_path) == [22]
    # Without the firewall, the dashboard is still on loopback alone.
    ray_cluster.on("orchestrator", "sudo /opt/ray/bin/ray-firewall stop")
    assert find_open(lab, stranger, orchestrator, [6379, 8265], tmp_path) == [6379]
    changed = ray_cluster.launch()["changed"]
    assert changed == {**dict.fromkeys(HOSTS, 0), HOSTS[0]: 1}
    assert find_open(lab, stranger, orchestrator, [6379], tmp_path) == []


def test_ray_refuses_clients_without_the_token(ray_cluster: RayCluster) -> None:
    address = ray_cluster.first_launch["orchestrator"]["private_ip"]
    code = "curl -s -o /dev/null -w '%{http_code}' http://127.0.0.1:8265/api/jobs/"
    assert ray_cluster.on("orchestrator", code) == "401"
    assert ray_cluster.on("orchestrator", f'{code} -H "Authorization: Bearer $(cat ~/{TOKEN})"') == "200"
    check = f"/opt/ray/venv/bin/ray health-check --address {address}:6379"
    ray_cluster.on("factory 0", f"RAY_AUTH_MODE=token {check}")
    wrong = f"echo {'0' * 64} > /tmp/wrong; RAY_AUTH_TOKEN_PATH=/tmp/wrong RAY_AUTH_MODE=token {check} 2>&1; echo $?"
    output = ray_cluster.on("factory 0", wrong)
    assert output.split()[-1] != "0", output


def test_a_unit_does_not_start_without_its_token(ray_cluster: RayCluster) -> None:
    ray_cluster.on("factory 0", f"mv ~/{TOKEN} /tmp/kept; sudo systemctl restart {UNIT}; true")
    log = f"sudo journalctl -q -o cat -n 20 -u {UNIT}"
    cloud.wait_until(lambda: "does not start without the token" in ray_cluster.on("factory 0", log), "refused")
    ray_cluster.wait_for_nodes(2)
    changed = ray_cluster.launch()["changed"]
    assert changed["e2e_ray_factory_0"] > 0
    assert changed["e2e_ray_orchestrator"] == 0
    read_token(ray_cluster)


@pytest.mark.long
def test_a_host_with_another_token_is_named_and_repaired(ray_cluster: RayCluster) -> None:
    ray_cluster.on("factory 1", f"printf {'0' * 64} > ~/{TOKEN}; sudo systemctl restart {UNIT}; true")
    ray_cluster.wait_for_nodes(2)
    output = ray_cluster.call("launch", "--yes")
    assert "replace the token" in output
    read_token(ray_cluster)
    ray_cluster.wait_for_nodes()


@pytest.mark.long
def test_a_rotated_token_replaces_the_old_one(ray_cluster: RayCluster) -> None:
    before = read_token(ray_cluster)
    document = ray_cluster.launch("--rotate-token")
    assert document["ray"]["alive"] == 3
    assert read_token(ray_cluster) != before
    assert set(ray_cluster.launch()["changed"].values()) == {0}


def test_a_rebooted_factory_rejoins_by_itself(ray_cluster: RayCluster, lab: LabInfo) -> None:
    instance = ray_cluster.first_launch["factories"][1]["instance_id"]
    boot = ray_cluster.on("factory 1", "cat /proc/sys/kernel/random/boot_id; systemctl show -P UserspaceTimestamp")
    cloud.client(lab).reboot_instances(InstanceIds=[instance])
    ray_cluster.wait_for_nodes(2)
    ray_cluster.wait_for_nodes()
    assert boot != ray_cluster.on(
        "factory 1", "cat /proc/sys/kernel/random/boot_id; systemctl show -P UserspaceTimestamp"
    )
    assert set(ray_cluster.launch()["changed"].values()) == {0}


@pytest.mark.long
def test_factories_rejoin_a_restarted_head_by_themselves(ray_cluster: RayCluster) -> None:
    before = ray_cluster.on("orchestrator", f"systemctl show -P MainPID {UNIT}; sudo systemctl restart {UNIT}")
    ray_cluster.wait_for_nodes()
    assert before != ray_cluster.on("orchestrator", f"systemctl show -P MainPID {UNIT}")
    assert set(ray_cluster.launch()["changed"].values()) == {0}


@pytest.mark.long
def test_a_host_with_a_blocked_port_is_named(ray_cluster: RayCluster) -> None:
    table = "add table inet other; add chain inet other input { type filter hook input priority 0; }"
    rule = "add rule inet other input iif != lo tcp flags syn tcp dport 6381 drop"
    ray_cluster.on("factory 0", f"sudo nft '{table}; {rule}'")
    output = " ".join(ray_cluster.call("launch", "--yes", code=6).split())
    address = ray_cluster.first_launch["factories"][0]["private_ip"]
    assert f"the head cannot connect to {address}:6381 (e2e_ray_factory_0)" in output
    assert f"{HOSTS[0]}: ray_node: waiting for 1 of 3 nodes: {HOSTS[1]}" in output  # the progress of a long step
    assert ray_cluster.document("status")["ray"]["alive"] == 3
    ray_cluster.on("factory 0", "sudo nft delete table inet other")
    assert set(ray_cluster.launch()["changed"].values()) == {0}


def test_requirements_that_do_not_resolve_change_nothing(ray_cluster: RayCluster) -> None:
    before = ray_cluster.on_all("cat /opt/ray/venv/flambe-runtime.json")
    for runtime, reason in (
        ({"ray": "2.60.99"}, "no version of ray[default]==2.60.99"),
        ({"ray": VERSION, "packages": ["six==1.16.0", "six==1.17.0"]}, "requirements are unsatisfiable"),
        ({"ray": VERSION, "python": "3.12.99"}, "uv has no build of Python 3.12.99"),
    ):
        ray_cluster.write(runtime=runtime)
        output = " ".join(ray_cluster.call("launch", "--yes", code=6).split())
        assert output.partition(" error: ")[2].count(reason) == 1, output
    ray_cluster.write()
    assert set(ray_cluster.launch()["changed"].values()) == {0}
    assert ray_cluster.on_all("cat /opt/ray/venv/flambe-runtime.json") == before


@pytest.mark.long
def test_more_packages_converge_and_restart_ray(ray_cluster: RayCluster) -> None:
    """One package from the index, and one from a folder beside the file."""
    project = ray_cluster.folder / "tiny"
    project.mkdir()
    (project / "setup.py").write_text(
        "from setuptools import setup\nsetup(name='tiny', version='1.0', py_modules=['tiny'])\n"
    )
    (project / "tiny.py").write_text("answer = 42\n")
    requirements = ray_cluster.folder / "requirements.txt"
    requirements.write_text("\n".join([*PACKAGES, "iniconfig==2.0.0  # a comment", "./tiny", ""]))
    ray_cluster.write(runtime={"ray": VERSION, "requirements": "requirements.txt"})
    output = ray_cluster.call("launch", "--yes")
    assert "add iniconfig 2.0.0" in output
    assert "restart Ray: its runtime changed" in output
    versions = ray_cluster.on_all("cd /opt/ray/venv/lib/python3*/site-packages && ls -d iniconfig-*")
    assert set(versions.values()) == {"iniconfig-2.0.0.dist-info\n"}
    answers = ray_cluster.on_all("/opt/ray/venv/bin/python -c 'import tiny; print(tiny.answer)'")
    assert set(answers.values()) == {"42\n"}
    assert set(ray_cluster.launch()["changed"].values()) == {0}
    ray_cluster.write()
    assert "remove iniconfig" in ray_cluster.call("launch", "--yes")
    assert set(ray_cluster.on_all("ls -d /opt/ray/venv/lib/python3*/site-packages/iniconfig; :").values()) == {""}


@pytest.mark.long
def test_a_prepared_environment_with_another_python_is_named(ray_cluster: RayCluster) -> None:
    ray_cluster.on_all("sudo mkdir -p /opt/env && sudo ln -sfn /opt/ray/venv /opt/env/ray")
    ray_cluster.on("factory 1", "/usr/local/lib/flambe-uv venv -q --python python3.7 /tmp/other; "
                   "sudo ln -sfn /tmp/other /opt/env/ray")  # fmt: skip
    ray_cluster.write(runtime={"venv": "/opt/env/ray"})
    output = " ".join(ray_cluster.call("launch", "--yes", code=6).split())
    assert re.search(r"Python 3\.7\.\d+ on e2e_ray_factory_1, 3\.\d+\.\d+ on e2e_ray_orchestrator", output), output
    assert "ray is not installed in /opt/env/ray on e2e_ray_factory_1" in output
    ray_cluster.on("factory 1", "sudo ln -sfn /opt/ray/venv /opt/env/ray")
    document: dict[str, Any] = ray_cluster.launch()
    assert document["ray"]["alive"] == 3
    assert set(ray_cluster.launch()["changed"].values()) == {0}
    ray_cluster.write()
    assert ray_cluster.launch()["ray"]["alive"] == 3
