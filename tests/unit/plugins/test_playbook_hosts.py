"""The hosts of the playbooks: groups by variables, several clusters, and an error if no host matches."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from flambe_ansible.paths import collection

SITE = collection() / "playbooks/site.yml"
FOREIGN = "[controllers]\nhead\n[gpu_boxes]\nbox\n[web]\nw1\n"
TWO = "[orchestrator]\na1\nb1\n[factories]\na2\nb2\n[a]\na1\na2\n[b]\nb1\nb2\n"
GROUPED = TWO + "[a:vars]\nflambe_cluster_group=a\n[b:vars]\nflambe_cluster_group=b\n"
NAMES = {"head", "box", "w1", "a1", "a2", "b1", "b2"}
NAMED = ("-e", "flambe_cluster_orchestrator_group=controllers", "-e", "flambe_cluster_factories_group=gpu_boxes")


def play(folder: Path, inventory: str, *arguments: str, playbook: str | Path = SITE) -> tuple[int, str]:
    """Run a playbook from another folder; only the tasks that connect to no host."""
    (folder / "hosts.ini").write_text(f"{inventory}\n[all:vars]\nansible_connection=local\n")
    (folder / "ansible.cfg").touch()
    argv = [sys.executable, "-m", "ansible", "playbook", "-i", "hosts.ini", str(playbook), "--tags", "none", *arguments]
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder), "LANG": "C.UTF-8", "COLUMNS": "1000"}
    done = subprocess.run(argv, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    return done.returncode, " ".join((done.stdout + done.stderr).split())


@pytest.mark.parametrize(
    ("inventory", "arguments", "hosts"),
    [
        (FOREIGN, NAMED, "head box"),
        (FOREIGN, (*NAMED, "--limit", "box"), "box"),
        (GROUPED, ("--limit", "b"), "b1 b2"),
        (GROUPED, ("--limit", "a2"), "a2"),
    ],
    ids=["groups by variables", "limited", "one of two clusters", "one host of two clusters"],
)
def test_the_site_is_played_on_its_hosts(
    tmp_path: Path, inventory: str, arguments: tuple[str, ...], hosts: str
) -> None:
    code, output = play(tmp_path, inventory, *arguments)
    assert code == 0, output
    recap = output.partition("PLAY RECAP")[2]
    assert sorted(word for word in recap.split() if word in NAMES) == sorted(hosts.split())


@pytest.mark.parametrize(
    ("inventory", "arguments", "message"),
    [
        (FOREIGN, (), "orchestrator and factories; the groups with hosts are: controllers, gpu_boxes"),
        (FOREIGN, (*NAMED, "--limit", "w1"), "no hosts of the groups controllers and gpu_boxes match --limit w1; "),
        ("[factories]\none\n", (), "the group orchestrator has no hosts of the group all"),
        (TWO, ("-e", "flambe_cluster_group=nosuch"), "the group orchestrator has no hosts of the group nosuch"),
        (TWO, (), "several orchestrators: a1, b1; flambe_cluster_group must name the group of each cluster"),
        (GROUPED, (), "hosts of several clusters: a1, b1, b2; play one cluster at a time, such as with --limit a"),
    ],
    ids=["no group", "limit", "no orchestrator", "no such cluster", "no cluster groups", "two clusters"],
)  # fmt: skip
def test_other_hosts_are_an_error(tmp_path: Path, inventory: str, arguments: tuple[str, ...], message: str) -> None:
    code, output = play(tmp_path, inventory, *arguments)
    assert code != 0
    assert message in output


RAY = ("-e", "cluster_runtime=ray")


@pytest.mark.parametrize(
    "given",
    [
        {"python_env_requirements": ["ray[default]==2.60.0"]},
        {"python_env_wheels_src": ["/here/ray.whl"]},
        {"python_env_venv": "/opt/env"},
    ],
)
def test_current_ray_needs_packages_or_an_environment(tmp_path: Path, given: dict[str, Any]) -> None:
    code, output = play(tmp_path, FOREIGN, *NAMED, *RAY)
    assert code != 0
    assert "python_env_requirements is empty; with cluster_runtime: ray it names Ray" in output
    code, output = play(tmp_path, FOREIGN, *NAMED, *RAY, "-e", json.dumps(given))
    assert code == 0, output


@pytest.mark.parametrize(("limit", "expected"), [("box", ["/usr/local/lib/flambe-uv"]), ("head,box", [])])
def test_packages_are_resolved_on_a_head_outside_of_the_limit(tmp_path: Path, limit: str, expected: list[str]) -> None:
    role = collection() / "roles/python_env"
    install = next(task for task in yaml.safe_load((role / "tasks/main.yml").read_text()) if "block" in task)
    copies = install["block"][0]["flambe.cluster.python_lock"]["copies"].strip("{} ")
    read = {"ansible.builtin.set_fact": {"__python_env_info": {"machine": "x86_64", "missing": []}}}
    check = {"ansible.builtin.assert": {"that": f"({copies}) | map(attribute='dest') | list == expected"}}
    variables = {"python_env_source": "head", "python_env_uv_src": "/here/uv", "python_env_wheels_src": []}
    path = tmp_path / "copies.yml"
    given = {"vars": variables, "vars_files": [str(role / "vars/main.yml")]}
    path.write_text(yaml.safe_dump([{"hosts": "head:box", "gather_facts": False, **given, "tasks": [read, check]}]))
    extra = json.dumps({"expected": expected})
    code, output = play(tmp_path, FOREIGN, "--tags", "all", "--limit", limit, "-e", extra, playbook=path)
    assert code == 0, output


def test_tensorboard_is_played_only_with_a_folder(tmp_path: Path) -> None:
    tasks = {task["name"]: task for task in yaml.safe_load(SITE.read_text())[0]["tasks"]}
    path = tmp_path / "condition.yml"
    check = {"ansible.builtin.assert": {"that": f"({tasks['Run TensorBoard']['when']}) is sameas expected"}}
    variables = {"cluster_runtime": "ray", "site_orchestrators": ["head"]}
    path.write_text(yaml.safe_dump([{"hosts": "head", "gather_facts": False, "vars": variables, "tasks": [check]}]))
    for given, expected in (({}, False), ({"tensorboard_logdir": ""}, False), ({"tensorboard_logdir": "a"}, True)):
        extra = json.dumps({**given, "expected": expected})
        code, output = play(tmp_path, FOREIGN, "--tags", "all", "-e", extra, playbook=path)
        assert code == 0, output


@pytest.mark.parametrize("name", ["submit.yml", "runnable.yml"])
def test_the_other_playbooks_fail_without_hosts_as_well(tmp_path: Path, name: str) -> None:
    code, output = play(tmp_path, FOREIGN, playbook=SITE.with_name(name))
    assert code != 0
    assert "no hosts of the groups orchestrator" in output


def test_extensions_are_installed_on_factories_alone(tmp_path: Path) -> None:
    code, output = play(tmp_path, FOREIGN, *NAMED, "--limit", "box", playbook=SITE.with_name("submit.yml"))
    assert code == 0, output


def test_a_syntax_check_needs_no_inventory(tmp_path: Path) -> None:
    assert play(tmp_path, "", "--syntax-check")[0] == 0
