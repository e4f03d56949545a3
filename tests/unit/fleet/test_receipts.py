"""The digest of a launch's inputs, and what proves the state of each role."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from flambe_ansible.fleet.receipts import Receipts, Verification, find_proof, list_roles
from flambe_ansible.paths import collection
from tests.unit.cli.made_up import HOSTS
from tests.unit.fleets import make_connections, make_fleet

HOLDS = {"reason": "", "differs": {}, "roles": ["cluster_secrets"]}


def make(variables: dict[str, Any] | None = None, *, stdout: str = "") -> tuple[Receipts, Any]:
    connections = make_connections(stdout)
    return Receipts(fleet=make_fleet(connections), members=HOSTS, variables=variables or {}), connections


def read_digest(receipts: Receipts) -> str:
    """Return the digest that is sent to the orchestrator."""
    receipts.verify()
    connections: Any = receipts.fleet.connections
    assert connections.run.call_args_list[-1].args[1] == "sudo -n /usr/bin/python3 -I -"
    program = connections.run.call_args_list[-1].kwargs["input"]
    [digest] = re.findall(r"\nverify\('([0-9a-f]{64})', \[\]\)\n\Z", program)
    return str(digest)


def test_the_digest_depends_on_the_inputs_and_not_on_their_places(tmp_path: Path) -> None:
    for name, text in (("one", "[A]\n"), ("copy", "[A]\n"), ("other", "[B]\n")):
        (tmp_path / name).write_text(text)
    base, _ = make({"cluster_secrets_src": str(tmp_path / "one"), "setup_cmds_commands": ["true"]})
    same, _ = make({"cluster_secrets_src": str(tmp_path / "copy"), "setup_cmds_commands": ["true"]})
    changed = [
        make({"cluster_secrets_src": str(tmp_path / "other"), "setup_cmds_commands": ["true"]})[0],
        make({"cluster_secrets_src": str(tmp_path / "one"), "setup_cmds_commands": ["false"]})[0],
        replace(base, members=HOSTS[:-1]),
        replace(base, members=[replace(HOSTS[0], private_ip="10.9.9.9"), *HOSTS[1:]]),
        replace(base, fleet=replace(base.fleet, username="other")),
    ]
    digests = [read_digest(one) for one in (base, *changed)]
    assert len(set(digests)) == len(digests)
    assert read_digest(same) == digests[0]


@pytest.mark.parametrize(
    ("stdout", "expected"),
    [
        (f"Welcome!\n{json.dumps(HOLDS)}\n", Verification(roles=("cluster_secrets",))),
        ("", Verification(reason="its receipt could not be read")),
        ("sudo: a password is required", Verification(reason="its receipt could not be read")),
    ],
)
def test_the_answers_of_the_hosts(stdout: str, expected: Verification) -> None:
    receipts, _ = make(stdout=stdout)
    assert receipts.verify() == {host.name: expected for host in HOSTS}


def test_receipts_are_written_for_the_given_hosts() -> None:
    receipts, connections = make({"ray_node_root": "/opt/ray"})
    receipts.write({HOSTS[1].name: ["cluster_secrets"]})
    [call] = connections.run.call_args_list
    assert call.args[0] == HOSTS[1]
    assert call.kwargs["input"].endswith("', 'ml', {'cluster_secrets': {'files': ['~/secrets.ini']}}, [])\n")


def test_a_text_with_an_empty_variable_is_left_out() -> None:
    proof = find_proof("python_env", {"python_env_root": "/srv/ray"})
    assert proof["folders"] == ["/srv/ray/venv", "/srv/ray/python"]
    assert "/srv/ray/venv/bin/python" in proof["files"]
    assert find_proof("python_env", {"python_env_venv": "/opt/env"})["folders"][-1] == "/opt/env"
    checks = find_proof("ray_node", {"ray_node_root": "/srv/ray"})["checks"]
    assert checks == [["/srv/ray/bin/ray-firewall", "check"], ["/srv/ray/bin/ray-nodes", "--check-ports"]]


def test_every_role_of_the_playbook_has_its_proof() -> None:
    roles = list_roles()
    assert roles == [
        "idle_shutdown", "setup_cmds", "cluster_gpu", "cluster_keys", "cluster_containers", "flambe", "python_env",
        "cluster_secrets", "ray_node", "ray_jobs", "tensorboard",
    ]  # fmt: skip
    for role in roles:
        folder = collection() / "roles" / role
        document = yaml.safe_load((folder / "meta/receipt.yml").read_text())
        assert set(document) <= {"files", "folders", "units", "checks", "boot", "affects", "together", "needs"}
        assert any(find_proof(role, {}).values())
    plays = yaml.safe_load((collection() / "playbooks/site.yml").read_text())
    tags = [task["tags"] for play in plays for task in play["tasks"] if "ansible.builtin.import_role" in task]
    assert [names[0] for names in tags] == roles  # a role is played by its tag


def test_setup_commands_differ_after_a_reboot() -> None:
    assert find_proof("setup_cmds", {})["boot"]


def test_hosts_that_were_verified_with_their_probe_are_not_asked_again() -> None:
    receipts, connections = make()
    printed = {HOSTS[0].name: json.dumps(HOLDS)}
    connections.take_output.side_effect = lambda host, program: printed.get(host.name) if program else None
    assert receipts.verify()[HOSTS[0].name] == Verification(roles=("cluster_secrets",))
    assert [call.args[0] for call in connections.run.call_args_list] == list(HOSTS[1:])
