"""A change of a field, or of a role variable, is found by the verification of a launch, in the roles that read it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from flambe_ansible import paths
from flambe_ansible.cluster import baking
from flambe_ansible.cluster.aws import AWSCluster
from flambe_ansible.fleet.receipts import Receipts
from flambe_ansible.launch.verifying import ONE_TIME, list_needed, make_receipts
from flambe_ansible.runtimes import make_runtime
from flambe_ansible.validation.runtime_fields import RUNTIMES
from flambe_ansible.validation.schema import Change
from tests.unit.cli.made_up import make_host
from tests.unit.fleets import make_fleet, read_digests

ROLES = sorted((path.name for path in (paths.collection() / "roles").iterdir()), key=len, reverse=True)
RAY = {"name": "ray", "ray": "2.60.0"}
REQUIRED = {"name": "demo", "factories_num": 1, "factories_type": "m5.large", "orchestrator_type": "m5.large"}
DEFAULTS = {**REQUIRED, "creator": "me", "flambe_version": "0.4.18", "setup_cmds": ["true"], "docker": True}


@pytest.fixture(autouse=True)
def _end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(AWSCluster, "_find_end", lambda cluster: f"after {cluster.budget}" if cluster.budget else "")


@pytest.fixture
def verify(tmp_path: Path) -> Callable[..., Receipts]:
    """Return a function that makes the receipts of a cluster with these fields."""
    secrets = tmp_path / "secrets.ini"
    secrets.write_text("[A]\n")

    def make(**fields: Any) -> Receipts:
        cluster = AWSCluster(**{**DEFAULTS, **fields})
        cluster.options.secrets_file = secrets
        hosts = [make_host(), *(make_host(index) for index in range(cluster.factories_num))]
        fleet = replace(make_fleet(hosts=hosts), username=cluster.username)
        return make_receipts(cluster._fleets.make_player(fleet), cluster._runtime)

    return make


def find_changed(before: Receipts, after: Receipts) -> set[str]:
    """Return the roles that differ on one of the hosts that both have."""
    known, wanted = read_digests(before), read_digests(after)
    return {role for name in known for role, one in wanted[name].items() if known[name].get(role) != one}


ALL = {
    "idle_shutdown",
    "setup_cmds",
    "cluster_gpu",
    "cluster_keys",
    "cluster_containers",
    "cluster_secrets",
    "ray_node",
}
ON_RAY = {*ALL, "python_env", "ray_jobs", "tensorboard"}
FIELDS: dict[str, tuple[dict[str, Any], Any, set[str]]] = {  # more fields, another value, the roles that differ
    "factories_num": ({}, 3, {"cluster_keys", "ray_node"}),
    "username": ({}, "admin", {*ALL, "flambe"}),
    "orchestrator_timeout": ({}, 7, {"idle_shutdown"}),
    "factories_timeout": ({}, 7, {"idle_shutdown"}),
    "budget": ({}, 10, {"idle_shutdown"}),
    "idle_cpu_percent": ({}, 50.0, {"idle_shutdown"}),
    "idle_gpu_percent": ({}, 50.0, {"idle_shutdown"}),
    "idle_command": ({}, "true", {"idle_shutdown"}),
    "setup_cmds": ({}, ["false"], {"setup_cmds"}),
    "setup_timeout": ({}, 7.0, {"setup_cmds"}),
    "install_timeout": ({}, 7.0, {"flambe", "cluster_containers"}),
    "runtime": (
        {},
        RAY,
        ON_RAY - {"setup_cmds", "cluster_gpu", "cluster_keys", "cluster_containers", "cluster_secrets"},
    ),
    "flambe_version": ({}, "0.4.17", {"flambe"}),
    "expose_sites": ({"runtime": RAY}, True, {"tensorboard"}),
    "answer_timeout": ({}, 3000.0, {"ray_node"}),
    "factories_resources": ({"runtime": RAY}, {"disk": 1}, {"ray_node"}),
    "orchestrator_resources": ({"runtime": RAY}, {"disk": 1}, {"ray_node"}),
    "factories_labels": ({"runtime": RAY}, {"a": "b"}, {"ray_node"}),
    "nvidia_driver": ({}, "ignore", {"cluster_gpu", "ray_node", "cluster_containers"}),
    "docker": ({"docker": False}, True, {"cluster_containers"}),
}
# Fields that change nothing on the hosts: of this machine, and of AWS.
ELSEWHERE = {
    "key",
    "use_public",
    "strict_host_keys",
    "boot_timeout",
    "tags",
    "ssh_sources",
    "max_price_per_hour",
    "min_factories",
}
BY_VERSION = {"flambe_source"}  # its wheel is the variable flambe_wheel_src


def test_every_field_that_changes_hosts_is_tried() -> None:
    in_place = {one.name for one in AWSCluster.schema.fields if one.change is Change.IN_PLACE}
    assert in_place == {*FIELDS} | ELSEWHERE | BY_VERSION


@pytest.mark.parametrize("field", FIELDS)
def test_a_change_of_a_field_is_found(verify: Callable[..., Receipts], field: str) -> None:
    more, value, roles = FIELDS[field]
    assert find_changed(verify(**more), verify(**{**more, field: value})) == roles


@pytest.mark.parametrize(
    ("option", "value", "roles"),
    [
        ("ray", "2.59.0", {"python_env"}),
        ("packages", ["numpy"], {"python_env"}),
        ("python", "3.12", {"python_env"}),
        ("index_url", "https://example.com/simple", {"python_env"}),
        ("torch_backend", "cpu", {"python_env"}),
        ("object_store_memory", 100_000_000, {"ray_node"}),
        ("temp_dir", "/data/ray", {"ray_node"}),
        ("venv", "/opt/conda", {"python_env", "ray_node", "ray_jobs"}),
    ],
)
def test_a_change_of_an_option_of_ray_is_found(
    verify: Callable[..., Receipts], option: str, value: Any, roles: set[str]
) -> None:
    assert find_changed(verify(runtime=RAY), verify(runtime={**RAY, option: value})) == roles


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_every_variable_of_a_launch_changes_a_role_that_is_played(
    verify: Callable[..., Receipts], runtime: str
) -> None:
    receipts = verify(runtime=RAY if runtime == "ray" else runtime)
    played = list_needed(make_runtime(runtime), receipts.variables)
    assert {"idle_shutdown", "cluster_containers", "cluster_secrets", "setup_cmds"} <= {*played}
    unseen = set()
    for name in receipts.variables.keys() - {"cluster_name"}:  # it is in the names of the hosts
        after = replace(receipts, variables={**receipts.variables, name: "changed"})
        if not find_changed(receipts, after) & {*played}:
            unseen.add(name)
    # The rest belongs to roles that a submission plays.
    assert all(find_role(name) for name in unseen)
    assert {find_role(name) for name in unseen}.isdisjoint(played)
    assert not {*ONE_TIME} & receipts.variables.keys()


def find_role(variable: str) -> str:
    """Return the role to which a variable belongs, by its prefix; "" if there is none."""
    return next((role for role in ROLES if variable.startswith(f"{role}_")), "")


@pytest.mark.parametrize(("runtime", "role"), [("flambe", "flambe"), (RAY, "python_env")])
def test_a_baked_role_holds_on_all_hosts_of_an_image(verify: Callable[..., Receipts], runtime: Any, role: str) -> None:
    """The temporary cluster has other hosts, another name and other timeouts."""
    cluster = AWSCluster(**{**DEFAULTS, "runtime": runtime, "flambe_version": "0.4.18"})
    builder = baking._make_builder(cluster, mark="m", factories=0)
    receipts = {one: verify(**{name: getattr(one, name) for name in one.schema.by_name}) for one in (cluster, builder)}
    assert read_digests(receipts[cluster]) != read_digests(receipts[builder])
    digests = {one[role] for found in receipts.values() for one in read_digests(found).values()}
    assert len(digests) == 1
