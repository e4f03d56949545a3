"""The inventory plugin, run by ansible-inventory; the clusters are read from files of their data."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from flambe_ansible import inventory, paths
from flambe_ansible.hosts import Host, Role

# Replaces the loader of cluster.yaml in the process of the plugin, and counts its calls.
SHIM = """
import json, pathlib, flambe_ansible.cluster.loading
from flambe_ansible.errors import ClusterNotFoundError
class Cluster:
    def __init__(self, path): self.path = pathlib.Path(path)
    def inventory(self):
        with open("asked", "a") as file: file.write(self.path.stem + "\\n")
        if not self.path.stat().st_size: raise ClusterNotFoundError(f"no host of cluster {self.path.stem} is running")
        return json.loads(self.path.read_text())
loading = flambe_ansible.cluster.loading
original = loading.load_cluster
loading.load_cluster = lambda path: (Cluster if pathlib.Path(path).suffix == ".json" else original)(path)
"""
Ansible = Callable[..., "subprocess.CompletedProcess[str]"]
CACHE = {"cache": True, "cache_plugin": "ansible.builtin.jsonfile", "cache_connection": "cache"}


def make_data(cluster: str, *, address: str = "10.0.0", **variables: Any) -> str:
    """Return the data of a cluster with an orchestrator and two factories, in JSON."""
    common: dict[str, Any] = {
        "zone": "eu-central-1a",
        "tags": {"team": "vision", "Role": "x"},
        "private_ip": f"{address}.9",
    }
    hosts = [Host(name=f"{cluster}_orchestrator", role=Role.ORCHESTRATOR, instance_type="t3.small", **common)]
    for index, spot in enumerate((False, True)):
        name = f"{cluster}_factory_{index}"
        hosts.append(Host(name=name, role=Role.FACTORY, index=index, instance_type="g5.xlarge", spot=spot, **common))
    connection = {host.name: {"ansible_host": f"{address}.{number}"} for number, host in enumerate(hosts)}
    return json.dumps(inventory.build(hosts, connection=connection, variables={"cluster_name": cluster, **variables}))


@pytest.fixture
def ansible(tmp_path: Path) -> Ansible:
    """Return a function that writes an inventory file's options and calls ansible-inventory."""

    def call(
        *arguments: str, sources: Mapping[str, Mapping[str, Any]], program: str = "ansible-inventory"
    ) -> subprocess.CompletedProcess[str]:
        argv = [str(Path(sys.executable).parent / program), *arguments]
        for name, options in sources.items():
            (tmp_path / name).write_text(
                yaml.safe_dump({"plugin": "flambe.cluster.flambe", **options}, sort_keys=False)
            )
            argv += ["-i", name]
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(tmp_path),
            "LANG": "C.UTF-8",
            "COLUMNS": "1000",
            "PYTHONPATH": f"{tmp_path}{os.pathsep}{paths.PACKAGE.parent}",
            "ANSIBLE_CONFIG": str(tmp_path / "ansible.cfg"),
            "ANSIBLE_COLLECTIONS_PATH": str(paths.collections_root()),
            "ANSIBLE_INVENTORY_ANY_UNPARSED_IS_FAILED": "1",
        }
        return subprocess.run(argv, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)

    (tmp_path / "ansible.cfg").touch()
    (tmp_path / "sitecustomize.py").write_text(SHIM)
    (tmp_path / "demo.json").write_text(make_data("demo", setup_cmds_commands=["echo demo {{ 1 }}"]))
    (tmp_path / "other-one.json").write_text(make_data("other-one", address="10.0.1", setup_cmds_commands=["true"]))
    (tmp_path / "absent.json").touch()
    return call


def read(done: subprocess.CompletedProcess[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the groups and the variables by host; strings of an inventory are unsafe and marked so."""

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return value.get("__ansible_unsafe", {key: plain(one) for key, one in value.items()})
        return [plain(one) for one in value] if isinstance(value, list) else value

    assert done.returncode == 0, done.stderr
    listing = json.loads(done.stdout)
    variables: dict[str, Any] = plain(listing.pop("_meta")["hostvars"])
    return listing, variables


@pytest.mark.parametrize(
    "sources",
    [
        {"both.flambe.yml": {"cluster": ["demo.json", "other-one.json"]}},
        {"a.flambe.yml": {"cluster": "demo.json"}, "b.flambe.yaml": {"cluster": "other-one.json"}},
    ],
    ids=["one file", "two files"],
)
def test_two_clusters_keep_their_variables(ansible: Ansible, tmp_path: Path, sources: dict[str, Any]) -> None:
    (tmp_path / "hosts.ini").write_text("[web]\nw1 ansible_host=192.0.2.1\n")
    done = ansible("--list", "-i", "hosts.ini", sources=sources)
    assert done.stderr == ""
    groups, variables = read(done)
    assert groups["orchestrator"]["hosts"] == ["demo_orchestrator", "other-one_orchestrator"]
    assert len(groups["factories"]["hosts"]) == 4
    assert groups["demo"] == {"children": ["demo_factories"], "hosts": ["demo_orchestrator"]}
    assert groups["other_one_factories"]["hosts"] == ["other-one_factory_0", "other-one_factory_1"]
    assert variables["w1"] == {"ansible_host": "192.0.2.1"}
    assert variables["demo_factory_0"]["setup_cmds_commands"] == ["echo demo {{ 1 }}"]
    assert variables["other-one_factory_1"]["setup_cmds_commands"] == ["true"]
    found = {host: one.get("flambe_cluster_group") for host, one in variables.items()}
    assert found["demo_factory_1"] == "demo"
    assert found["other-one_orchestrator"] == "other_one"


def test_the_graph_shows_both_clusters(ansible: Ansible) -> None:
    done = ansible("--graph", sources={"c.flambe.yml": {"cluster": ["demo.json", "other-one.json"]}})
    shown = done.stdout.splitlines()
    for line in ("  |--@orchestrator:", "  |--@demo:", "  |  |--@demo_factories:", "  |--@other_one:"):
        assert line in shown


def test_constructed_groups_and_variables(ansible: Ansible) -> None:
    options = {
        "cluster": "demo.json",
        "strict": True,
        "keyed_groups": [
            {"key": "cluster_role", "prefix": "role"},
            {"key": "instance_type", "prefix": "type", "parent_group": "types"},
            {"key": "zone", "prefix": "", "separator": ""},
            {"key": "tags", "prefix": "tag"},
            {"key": "ec2_tags.team"},
        ],
        "groups": {"interruptible": "spot", "named": "cluster_name == 'demo'"},
        "compose": {"region": "zone[:-1]", "ansible_host": "private_ip"},
    }
    done = ansible("--list", sources={"c.flambe.yml": options})
    assert done.stderr == ""
    groups, variables = read(done)
    assert groups["role_orchestrator"]["hosts"] == ["demo_orchestrator"]
    assert groups["types"]["children"] == ["type_t3_small", "type_g5_xlarge"]
    assert groups["tag_team_vision"] == groups["_vision"] == groups["eu_central_1a"] == groups["named"]
    assert len(groups["named"]["hosts"]) == 3
    assert groups["interruptible"]["hosts"] == ["demo_factory_1"]
    one = variables["demo_factory_0"]
    assert (one["region"], one["ansible_host"]) == ("eu-central-1", "10.0.0.9")
    assert one["ec2_tags"] == {"team": "vision", "Role": "x"}
    assert "tags" not in one


def test_prefix_and_suffix_apply_to_what_describes_a_host(ansible: Ansible) -> None:
    options = {
        "hostvars_prefix": "aws_",
        "hostvars_suffix": "_x",
        "keyed_groups": [{"key": "aws_zone_x", "prefix": "z"}],
    }
    done = ansible("--list", sources={"c.flambe.yml": {"cluster": "demo.json", **options}})
    assert done.stderr == ""
    groups, variables = read(done)
    assert "z_eu_central_1a" in groups
    one = variables["demo_factory_0"]
    assert (one["aws_instance_type_x"], one["aws_tags_x"]["team"], one["aws_private_ip_x"]) == (
        "g5.xlarge",
        "vision",
        "10.0.0.9",
    )
    assert (one["ansible_host"], one["private_ip"], one["cluster_name"]) == ("10.0.0.1", "10.0.0.9", "demo")
    assert "instance_type" not in one


def test_strict_makes_an_invalid_expression_an_error(ansible: Ansible) -> None:
    options = {"cluster": "demo.json", "compose": {"x": "nosuch + 1"}}
    assert ansible("--list", sources={"c.flambe.yml": options}).returncode == 0
    done = ansible("--list", sources={"c.flambe.yml": {**options, "strict": True}})
    assert done.returncode == 1
    assert "Could not set x for host demo_" in done.stderr


def test_the_cache_is_read_until_it_is_flushed(ansible: Ansible, tmp_path: Path) -> None:
    asked = tmp_path / "asked"
    cached = {"c.flambe.yml": {"cluster": "demo.json", **CACHE}}
    first = read(ansible("--list", sources=cached))
    assert read(ansible("--list", sources=cached)) == first
    assert asked.read_text() == "demo\n"
    (tmp_path / "demo.json").write_text(make_data("demo", address="10.0.7"))
    assert read(ansible("--list", sources=cached)) == first
    _, variables = read(ansible("--list", "--flush-cache", sources=cached))
    assert variables["demo_factory_0"]["ansible_host"] == "10.0.7.1"
    assert read(ansible("--list", sources=cached))[1] == variables
    assert asked.read_text() == "demo\ndemo\n"
    # Other clusters in the same file are other data, and without the option nothing is cached.
    read(ansible("--list", sources={"c.flambe.yml": {"cluster": "other-one.json", **CACHE}}))
    read(ansible("--list", sources={"c.flambe.yml": {"cluster": "demo.json"}}))
    assert asked.read_text() == "demo\ndemo\nother-one\ndemo\n"


def test_an_absent_cluster_is_an_empty_inventory_with_one_line(ansible: Ansible, tmp_path: Path) -> None:
    options = {"cluster": ["absent.json", "demo.json"], **CACHE}
    done = ansible("--list", sources={"c.flambe.yml": options})
    assert done.stderr.splitlines() == [
        f"[WARNING]: {tmp_path}/absent.json: no host of cluster absent is running; it has no hosts in the inventory"
    ]
    assert len(read(done)[1]) == 3
    (tmp_path / "absent.json").write_text(make_data("absent", address="10.0.2"))
    assert len(read(ansible("--list", sources={"c.flambe.yml": options}))[1]) == 6  # its absence was not cached


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "cluster"),
        ({"cluster": "nowhere.yaml"}, "nowhere.yaml"),
        ({"cluster": []}, "c.flambe.yml:2:1: cluster: expected the path of a cluster.yaml, or a list of paths"),
        ({"clutser": "demo.json"}, "c.flambe.yml:2:1: unknown option clutser; did you mean cluster?"),
        ({"cluster": "demo.json", "keyed_group": []}, "3:1: unknown option keyed_group; did you mean keyed_groups?"),
        ({"cluster": "demo.json", "xyz": 1}, "c.flambe.yml:3:1: unknown option xyz; the options are cache, "),
        (
            {"cluster": "demo.json", "keyed_groups": [{"key": "zone", "prefx": "z"}]},
            "c.flambe.yml:5:3: unknown option prefx; did you mean prefix?",
        ),
    ],
    ids=["no cluster", "no such file", "no file", "misspelt", "nearly", "unknown", "nested"],
)  # fmt: skip
def test_errors_in_the_file(ansible: Ansible, options: dict[str, Any], message: str) -> None:
    done = ansible("--list", sources={"c.flambe.yml": options})
    assert done.returncode == 1
    assert message in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr


def test_clusters_that_cannot_be_told_apart_are_refused(ansible: Ansible, tmp_path: Path) -> None:
    (tmp_path / "other_one.json").write_text(make_data("other_one"))
    done = ansible("--list", sources={"c.flambe.yml": {"cluster": ["other-one.json", "other_one.json"]}})
    assert "the clusters other-one and other_one have the same group other_one" in " ".join(done.stderr.split())
    (tmp_path / "same.json").write_text(make_data("demo", address="10.0.9"))
    done = ansible("--list", sources={"c.flambe.yml": {"cluster": ["demo.json", "same.json"]}})
    assert "two clusters have a host demo_orchestrator" in " ".join(done.stderr.split())


def test_a_missing_package_is_an_error_with_the_command_that_installs_it(ansible: Ansible, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text("import sys; sys.modules['flambe_ansible'] = None")
    done = ansible("--list", sources={"c.flambe.yml": {"cluster": "demo.json"}})
    assert "-m pip install flambe-ansible" in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr
