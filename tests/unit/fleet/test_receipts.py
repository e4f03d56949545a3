"""The digest of a launch's inputs, and what proves the state of each role."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from flambe_ansible.fleet import inputs
from flambe_ansible.fleet.inputs import list_roles
from flambe_ansible.fleet.receipts import Receipts, Verification, find_proof
from flambe_ansible.hosts import Host, Role
from flambe_ansible.paths import collection
from tests.unit.cli.made_up import HOSTS
from tests.unit.fleets import make_connections, make_fleet, read_digests

HOLDS = {"reason": "", "differs": {}, "roles": {"cluster_secrets": "l1"}, "boot": "b1"}
WANTED = {Role.ORCHESTRATOR: list_roles(), Role.FACTORY: [one for one in list_roles() if one != "cluster_secrets"]}
HEAD, FACTORY = HOSTS[:2]


def make(variables: dict[str, Any] | None = None, *, stdout: str = "") -> tuple[Receipts, Any]:
    connections = make_connections(stdout)
    fleet = make_fleet(connections)
    return Receipts(fleet=fleet, members=HOSTS, variables=variables or {}, wanted=WANTED), connections


def compare(one: Receipts, other: Receipts, host: Host = HEAD) -> set[str]:
    """Return the roles whose digests differ."""
    before, after = read_digests(one)[host.name], read_digests(other)[host.name]
    assert before.keys() == after.keys()
    return {role for role in before if before[role] != after[role]}


def test_the_digest_of_a_role_depends_on_what_it_reads(tmp_path: Path) -> None:
    for name, text in (("one", "[A]\n"), ("copy", "[A]\n"), ("other", "[B]\n")):
        (tmp_path / name).write_text(text)
    known = {"cluster_secrets_src": str(tmp_path / "one"), "setup_cmds_commands": ["true"]}
    base, _ = make(known)

    def changed(**variables: Any) -> set[str]:
        return compare(base, make({**known, **variables})[0])

    assert changed(cluster_secrets_src=str(tmp_path / "copy")) == set()
    assert changed(cluster_secrets_src=str(tmp_path / "other")) == {"cluster_secrets"}
    assert changed(setup_cmds_commands=["false"]) == {"setup_cmds"}
    assert changed(cluster_factories_idle_seconds=7) == {"idle_shutdown"}  # by two variables of the playbook
    assert changed(cluster_factories_labels={"a": "b"}) == {"ray_node"}
    assert changed(no_variable_of_a_role=1) == set()
    assert compare(base, replace(base, fleet=replace(base.fleet, username="other"))) == set(list_roles())


def test_a_file_that_changes_between_two_launches_of_a_process_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "secrets.ini"
    path.write_text("[A]\n")
    before, _ = make({"cluster_secrets_src": str(path)})
    read_digests(before)
    path.write_text("[B]\n")
    assert compare(before, make({"cluster_secrets_src": str(path)})[0]) == {"cluster_secrets"}


OF_MEMBERS = {"cluster_keys", "ray_node"}
OF_HEAD = {"idle_shutdown", "cluster_secrets", "tensorboard"}


@pytest.mark.parametrize(
    ("members", "host", "roles"),
    [
        (HOSTS[:-1], HEAD, OF_MEMBERS),
        ([*HOSTS[:-1], replace(HOSTS[-1], instance_id="i-2")], HEAD, OF_MEMBERS),
        ([replace(HEAD, private_ip="10.9.9.9"), *HOSTS[1:]], FACTORY, OF_MEMBERS | OF_HEAD - {"cluster_secrets"}),
        ([replace(HEAD, private_ip="10.9.9.9"), *HOSTS[1:]], HEAD, OF_MEMBERS | OF_HEAD),
    ],
)
def test_roles_depend_on_the_hosts_that_they_read(members: list[Host], host: Host, roles: set[str]) -> None:
    base, _ = make()
    assert compare(base, replace(base, members=members), host) == roles


def test_roles_depend_on_what_they_read_about_their_host() -> None:
    base, _ = make()
    moved = replace(base, fleet=make_fleet(make_connections(), hosts=[HEAD, replace(FACTORY, private_ip="10.9.9.9")]))
    assert compare(base, moved, FACTORY) == {"idle_shutdown", *OF_MEMBERS}
    head, factory = (read_digests(base)[host.name] for host in (HEAD, FACTORY))
    assert {role for role in factory if head[role] != factory[role]} == {"idle_shutdown", "tensorboard", *OF_MEMBERS}


@pytest.mark.parametrize(
    ("stdout", "expected"),
    [
        (f"Welcome!\n{json.dumps(HOLDS)}\n", ""),
        (json.dumps({"reason": "no launch has completed", "differs": {}, "roles": {}}), "no launch has completed"),
        ("", "its receipt could not be read"),
        ("sudo: a password is required", "its receipt could not be read"),
    ],
)
def test_the_answers_of_the_hosts(stdout: str, expected: str) -> None:
    """Without a receipt that can be used, all roles of a host differ, except those that it may lack."""
    receipts, _ = make(stdout=stdout)
    for host in HOSTS:
        roles = [role for role in WANTED[host.role] if role != "cluster_gpu"]
        wanted = Verification(roles={"cluster_secrets": "l1"}, boot="b1")
        if expected:
            wanted = Verification(reason=expected, differs=dict.fromkeys(roles, expected))
        assert receipts.verify()[host.name] == wanted


def test_receipts_are_written_for_the_given_hosts() -> None:
    receipts, connections = make({"ray_node_root": "/opt/ray"})
    assert receipts.write({HOSTS[1].name: ["cluster_secrets"]}, boots={HOSTS[1].name: "b1"}) == ([], {})
    [call] = connections.run.call_args_list
    assert call.args[0] == HOSTS[1]
    proof = r"\{'files': \['~/secrets.ini'\]\}"
    assert re.search(
        rf"\nwrite\({{'cluster_secrets': \['\w{{32}}', {proof}\]}}, 'ml', '\w{{12}}', \[\], 'b1'\)\n\Z",
        call.kwargs["input"],
    )


def test_the_other_roles_of_a_receipt_are_removed() -> None:
    receipts, connections = make()
    receipts.keep({HOSTS[1].name: {"ray_node", "cluster_keys"}})
    [call] = connections.run.call_args_list
    assert call.args[0] == HOSTS[1]
    assert call.kwargs["input"].endswith("\nkeep(['cluster_keys', 'ray_node'])\n")


def test_a_text_with_an_empty_variable_is_left_out() -> None:
    proof = find_proof("python_env", {"python_env_root": "/srv/ray"})
    assert proof["folders"] == ["/srv/ray/venv", "/srv/ray/python"]
    assert "/srv/ray/venv/bin/python" in proof["files"]
    assert find_proof("python_env", {"python_env_venv": "/opt/env"})["folders"][-1] == "/opt/env"
    checks = find_proof("ray_node", {"ray_node_root": "/srv/ray"})["checks"]
    assert checks == [
        ["/srv/ray/bin/ray-firewall", "check"],
        ["/srv/ray/bin/ray-nodes", "--check-ports"],
        ["/srv/ray/bin/ray-nodes", "--check-session"],
    ]


def test_every_role_of_the_playbook_has_its_proof() -> None:
    roles = list_roles()
    assert roles == [
        "idle_shutdown", "setup_cmds", "cluster_gpu", "cluster_keys", "cluster_containers", "flambe", "python_env",
        "cluster_secrets", "ray_node", "ray_jobs", "tensorboard",
    ]  # fmt: skip
    for role in roles:
        folder = collection() / "roles" / role
        document = yaml.safe_load((folder / "meta/receipt.yml").read_text())
        assert set(document) <= {
            *("files", "folders", "units", "checks", "boot"),
            *("affects", "together", "needs", "optional", "baked"),
        }
        assert any(find_proof(role, {}).values())
    assert [task["tags"][0] for task in inputs._read_imports().values()] == roles  # a role is played by its tag


def test_lines_of_a_file_can_be_excepted() -> None:
    files = find_proof("ray_node", {"ray_node_unit": "my-ray.service"})["files"]
    assert ["/etc/systemd/system/my-ray.service", "# head: "] in files


def test_setup_commands_differ_after_a_reboot() -> None:
    assert find_proof("setup_cmds", {})["boot"]


def test_hosts_that_were_verified_with_their_probe_are_not_asked_again() -> None:
    receipts, connections = make()
    printed = {HOSTS[0].name: json.dumps(HOLDS)}
    connections.take_output.side_effect = lambda host, program: (
        printed.get(host.name) if program == receipts.programs[host.name] else None
    )
    assert receipts.verify()[HOSTS[0].name] == Verification(roles={"cluster_secrets": "l1"}, boot="b1")
    assert [call.args[0] for call in connections.run.call_args_list] == list(HOSTS[1:])
