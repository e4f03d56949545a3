"""Which roles are played on which hosts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import jinja2
import pytest
import yaml

from flambe_ansible import paths
from flambe_ansible.fleet.receipts import Verification, list_roles, read_relations
from flambe_ansible.launch.verifying import Findings, Selection, list_needed
from flambe_ansible.runtimes import make_runtime
from flambe_ansible.validation.runtime_fields import RUNTIMES

RAY = ("setup_cmds", "cluster_keys", "python_env", "cluster_secrets", "ray_node", "ray_jobs", "tensorboard")
HEAD, ONE, TWO = "head", "one", "two"


def select(differs: Mapping[str, Sequence[str]], reasons: Mapping[str, str] | None = None) -> Selection:
    hosts = {
        name: Verification(
            reason=(reasons or {}).get(name, ""),
            differs=dict.fromkeys(differs.get(name, ()), "a changed"),
            roles=RAY,
        )
        for name in (HEAD, ONE, TWO)
    }
    return Findings(hosts=hosts, head=HEAD).select()


@pytest.mark.parametrize(
    ("differs", "roles", "hosts"),
    [
        ({ONE: ["ray_node"]}, ["ray_node"], [ONE]),
        ({ONE: ["ray_node"], TWO: ["ray_jobs"]}, ["ray_node", "ray_jobs"], [ONE, TWO]),
        ({HEAD: ["cluster_secrets", "tensorboard"]}, ["cluster_secrets", "tensorboard"], [HEAD]),
        ({HEAD: ["ray_node"]}, ["ray_node"], []),  # the others join the new head
        ({TWO: ["cluster_keys"]}, ["cluster_keys"], []),
        ({TWO: ["python_env"]}, ["python_env", "ray_node"], []),
        ({ONE: ["setup_cmds"]}, list(RAY), []),
        ({ONE: ["idle_shutdown"]}, ["idle_shutdown"], [ONE]),
    ],
)
def test_roles_and_hosts(differs: Mapping[str, Sequence[str]], roles: list[str], hosts: list[str]) -> None:
    assert select(differs) == Selection(roles=roles, hosts=hosts)


def test_without_a_receipt_on_every_host_all_roles_are_played_on_all_hosts() -> None:
    assert select({ONE: ["ray_node"]}, {TWO: "no launch has completed"}) == Selection()
    assert select({}) == Selection()


@pytest.mark.parametrize("role", list_roles())
def test_a_role_affects_only_later_roles(role: str) -> None:
    relations, roles = read_relations(role), list_roles()
    assert set(relations.affects) <= set(roles[roles.index(role) + 1 :])
    assert relations.together in ("", "always", "with_head")


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_launch_plays_no_role_of_another_runtime(runtime: str) -> None:
    """The conditions of the playbook are the same, for those who play it without this package."""
    [play] = yaml.safe_load((paths.collection() / "playbooks" / "site.yml").read_text())
    known = {
        "cluster_runtime": runtime,
        "cluster_docker": True,
        "inventory_hostname": HEAD,
        "site_orchestrators": [HEAD],
    }
    environment = jinja2.Environment()
    environment.filters["bool"] = bool
    played = [
        task["ansible.builtin.import_role"]["name"].rpartition(".")[2]
        for task in play["tasks"][::2]
        if environment.compile_expression(task.get("when", "true"))(**known)
    ]
    given = dict.fromkeys((read_relations(role).needs for role in list_roles()), "given")
    assert list_needed(make_runtime(runtime), given) == played
    assert "setup_cmds" in played


@pytest.mark.parametrize("has_gpus", [False, True])
def test_a_role_without_its_variable_or_its_devices_is_not_played(has_gpus: bool) -> None:
    variables = {"setup_cmds_commands": [], "cluster_secrets_src": ""}
    found = list_needed(make_runtime("none"), variables, has_gpus=has_gpus)
    assert found == ["idle_shutdown", *(["cluster_gpu"] if has_gpus else []), "cluster_keys"]
