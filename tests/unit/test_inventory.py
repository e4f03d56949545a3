"""The data of the inventory; strings of the user reach Ansible unchanged."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from flambe_ansible import inventory, paths
from flambe_ansible.hosts import Host, Role
from flambe_ansible.playbooks import run_playbook

COMMANDS = ["echo {{ 7*7 }}", "{% if x %}", "{# not a comment #}", "plain", "a: 'b' \"c\" é", "${HOME} {x}", "no", ""]
HOSTS = [
    Host(name="c_factory_1", role=Role.FACTORY, index=1, private_ip="10.0.0.3", instance_id="i-3"),
    Host(name="c_factory_0", role=Role.FACTORY, index=0, private_ip="10.0.0.2", instance_type="t3.small"),
    Host(
        name="c_orchestrator", role=Role.ORCHESTRATOR, private_ip="10.0.0.1", public_ip="192.0.2.1", instance_id="i-1"
    ),
]
LOCAL = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
WRITE = """
- hosts: orchestrator
  gather_facts: false
  tasks:
    - name: Write what arrived
      ansible.builtin.copy:
        content: "{{ {'commands': setup_cmds_commands, 'path': cluster_secrets_src} | to_json }}"
        dest: "{{ destination }}"
        mode: "0600"
"""
# Replaces the loader of cluster.yaml in the process of the plugin.
SHIM = """
import json, pathlib, flambe_ansible.cluster.loading
class Cluster:
    def __init__(self, path): self.path = path
    def inventory(self): return json.loads(pathlib.Path(self.path).read_text())
flambe_ansible.cluster.loading.load_cluster = Cluster
"""


def make() -> dict[str, Any]:
    variables = {"cluster_name": "c", "setup_cmds_commands": COMMANDS, "cluster_secrets_src": "/home/{{ user }}/s.ini"}
    return inventory.build(HOSTS, connection={host.name: LOCAL for host in HOSTS}, variables=variables)


def test_build() -> None:
    everything = make()["all"]
    assert list(everything) == ["children"]  # variables of the group all would apply to other clusters' hosts
    groups = everything["children"]
    assert list(groups) == ["orchestrator", "factories", "c"]
    assert groups["c"]["vars"]["setup_cmds_commands"] == COMMANDS
    assert groups["c"]["vars"]["flambe_cluster_group"] == "c"
    assert list(groups["c"]["hosts"]) == ["c_orchestrator"]
    assert list(groups["c"]["children"]["c_factories"]["hosts"]) == ["c_factory_0", "c_factory_1"]
    assert list(groups["factories"]["hosts"]) == ["c_factory_0", "c_factory_1"]
    assert groups["orchestrator"]["hosts"]["c_orchestrator"] == {
        **LOCAL,
        "cluster_role": "orchestrator",
        "private_ip": "10.0.0.1",
        "public_ip": "192.0.2.1",
        "instance_id": "i-1",
        "instance_type": "",
    }
    assert groups["factories"]["hosts"]["c_factory_0"]["public_ip"] == ""
    assert groups["factories"]["hosts"]["c_factory_0"]["instance_type"] == "t3.small"


def test_build_without_hosts_keeps_the_groups() -> None:
    groups = inventory.build([], connection={}, variables={"cluster_name": "c"})["all"]["children"]
    assert groups["orchestrator"] == groups["factories"] == {"hosts": {}}
    assert groups["c"]["children"] == {"c_factories": {"hosts": {}}}


@pytest.mark.parametrize(
    ("cluster", "group"),
    [
        ("demo", "demo"),
        ("my-demo", "my_demo"),
        ("2nd", "cluster_2nd"),
        ("all", "cluster_all"),
        ("orchestrator", "cluster_orchestrator"),
    ],
)
def test_the_group_of_a_cluster_is_a_valid_name(cluster: str, group: str) -> None:
    assert inventory.name_group(cluster) == group


def test_a_host_is_described_by_what_its_provider_returns() -> None:
    host = Host(name="c_factory_0", role=Role.FACTORY, zone="eu-central-1a", spot=True, tags={"team": "vision"})
    described = inventory.describe(host)
    assert (described["cluster_role"], described["zone"], described["spot"]) == ("factory", "eu-central-1a", True)
    assert described["ec2_tags"] == {"team": "vision"}
    assert "ec2_tags" not in inventory.describe(HOSTS[0])


@pytest.mark.parametrize(
    ("data", "protected"),
    [
        ("plain", "plain"),
        ("{{ x }}", {"__ansible_unsafe": "{{ x }}"}),
        (["a", "{% x %}"], ["a", {"__ansible_unsafe": "{% x %}"}]),
        (("a",), ["a"]),
        ({"k": {"l": "{#"}}, {"k": {"l": {"__ansible_unsafe": "{#"}}}),
        ({"__ansible_unsafe": "{{ x }}"}, {"__ansible_unsafe": "{{ x }}"}),
        ([1, 2.5, True, None], [1, 2.5, True, None]),
    ],
)
def test_protect(data: Any, protected: Any) -> None:
    assert inventory.protect(data) == protected


def test_the_inventory_of_a_run_is_verbatim(tmp_path: Path) -> None:
    (tmp_path / "write.yml").write_text(WRITE)
    arrived = tmp_path / "arrived.json"
    run_playbook(
        str(tmp_path / "write.yml"),
        inventory=make(),
        log=tmp_path / "log",
        extra_vars={"destination": str(arrived)},
    )
    assert_verbatim(arrived)


@pytest.mark.parametrize("form", ["json", "yaml", "plugin"])
def test_files_and_plugin_are_verbatim(tmp_path: Path, form: str) -> None:
    source = tmp_path / {"json": "hosts.json", "yaml": "hosts.yml", "plugin": "cluster.flambe.yml"}[form]
    if form == "plugin":
        source.write_text("plugin: flambe.cluster.flambe\ncluster: data.json\n")
        (tmp_path / "data.json").write_text(json.dumps(make()))
        (tmp_path / "sitecustomize.py").write_text(SHIM)
    else:
        source.write_text(inventory.as_json(make()) if form == "json" else inventory.as_yaml(make()))
    (tmp_path / "write.yml").write_text(WRITE)
    arrived = tmp_path / "arrived.json"
    done = run_ansible(tmp_path, "ansible-playbook", "-i", str(source), "-e", f"destination={arrived}", "write.yml")
    assert done.returncode == 0, done.stdout + done.stderr
    assert_verbatim(arrived)


def test_the_example_uses_the_plugin() -> None:
    example = Path(__file__).parents[2] / "inventory" / "cluster.flambe.yml"
    data = yaml.safe_load(example.read_text())
    assert data["plugin"] == "flambe.cluster.flambe"
    assert (example.parent / data["cluster"]).exists()


def assert_verbatim(arrived: Path) -> None:
    assert json.loads(arrived.read_text()) == {"commands": COMMANDS, "path": "/home/{{ user }}/s.ini"}


def run_ansible(folder: Path, program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "LANG": "C.UTF-8",
        "PYTHONPATH": str(folder),
        "ANSIBLE_CONFIG": str(folder / "none.cfg"),
        "ANSIBLE_COLLECTIONS_PATH": str(paths.collections_root()),
    }
    argv = [str(Path(sys.executable).parent / program), *arguments]
    return subprocess.run(argv, cwd=folder, env=environment, capture_output=True, text=True, check=False)
