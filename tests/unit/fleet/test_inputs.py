"""What a role reads, found in its text."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from flambe_ansible import paths
from flambe_ansible.fleet import inputs
from flambe_ansible.fleet.inputs import list_roles, plays_once, read_inputs
from flambe_ansible.fleet.receipts import read_relations

ROLES = paths.collection() / "roles"


def read_play() -> dict[str, Any]:
    [play] = yaml.safe_load((paths.collection() / "playbooks/site.yml").read_text())
    return dict(play)


@pytest.mark.parametrize("role", list_roles())
def test_a_role_reads_all_of_its_variables(role: str) -> None:
    """``meta`` is not read: it names no other variables, and no role that comes first."""
    specs = yaml.safe_load((ROLES / role / "meta/argument_specs.yml").read_text())
    assert {*specs["argument_specs"]["main"]["options"]} <= read_inputs(role).names
    assert yaml.safe_load((ROLES / role / "meta/main.yml").read_text())["dependencies"] == []


def test_the_hosts_that_roles_read() -> None:
    assert [role for role in list_roles() if read_inputs(role).members] == ["cluster_keys", "python_env", "ray_node"]
    assert [role for role in list_roles() if read_inputs(role).shares] == ["cluster_keys", "python_env", "ray_node"]
    assert [role for role in list_roles() if read_inputs(role).head and not read_inputs(role).members] == [
        "idle_shutdown", "flambe", "cluster_secrets", "tensorboard",
    ]  # fmt: skip
    assert [role for role in list_roles() if plays_once(role)] == ["cluster_secrets", "tensorboard"]


def test_the_playbook_reads_the_orchestrator_in_one_variable() -> None:
    """``inputs`` does not follow these two: the one is the orchestrator, the other chooses the hosts of a run."""
    variables = read_play()["vars"]
    assert variables["site_orchestrators"].startswith("{{ groups[site_orchestrator_group]")
    assert set(inputs._WORD.findall(variables["site_plays"])) - {"in", "not", "default"} == {
        "inventory_hostname", "site_skip", "role_name",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("role", "name"),
    [
        ("idle_shutdown", "cluster_factories_idle_seconds"),  # by two variables of the playbook
        ("idle_shutdown", "ray_node_dashboard_port"),
        ("ray_node", "cluster_gpu_driver"),
        ("ray_node", "flambe_cluster_user"),  # by a default
        ("ray_jobs", "cluster_runtime"),  # by the condition of the playbook
    ],
)
def test_variables_are_followed_through_definitions(role: str, name: str) -> None:
    assert name in read_inputs(role).names
    assert "setup_cmds_commands" not in read_inputs(role).names


@pytest.fixture
def definitions(monkeypatch: pytest.MonkeyPatch) -> None:
    known = {
        "head": "{{ site_orchestrators | first }}",
        "address": "{{ hostvars[head].private_ip }}",
        "addresses": "{{ hostvars[any_host].private_ip }}",
        "pair": "{{ [address, hostvars[others].private_ip] }}",
        "others": "{{ groups.factories | first }}",
        "same": "{{ same | default(head) }}",
    }
    words = {name: inputs._list_words([value]) for name, value in known.items()}
    monkeypatch.setattr(inputs, "_read_definitions", lambda: words)


@pytest.mark.usefixtures("definitions")
@pytest.mark.parametrize(
    ("name", "head", "members"),
    [
        ("head", True, False),
        ("address", True, False),
        ("same", True, False),
        ("addresses", False, True),
        ("pair", True, True),
        ("others", False, True),
        ("hostvars", False, True),
        ("nothing", False, False),
    ],
)
def test_other_hosts_are_recognized(monkeypatch: pytest.MonkeyPatch, name: str, head: bool, members: bool) -> None:
    monkeypatch.setattr(
        inputs, "_read_folder", lambda _role, kind: [{"a": f"{{{{ {name} }}}}"}] if kind == "tasks" else []
    )
    monkeypatch.setattr(inputs, "_read_import", lambda _role: {})
    found = read_inputs.__wrapped__("role")
    assert (found.head, found.members) == (head, members)


def test_what_an_image_keeps_needs_no_unit_and_no_other_host() -> None:
    baked = [role for role in list_roles() if read_relations(role).baked]
    assert baked == ["flambe", "python_env"]
    for role in baked:
        proof = yaml.safe_load((ROLES / role / "meta/receipt.yml").read_text())
        assert not {"units", "checks", "boot"} & proof.keys()
        assert proof.get("together") == "always" or not read_inputs(role).members
