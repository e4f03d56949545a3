"""What role cluster_keys sends to all hosts, with the role's own templates."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest
from ansible.template import Templar

from tests.unit.scale import templates
from tests.unit.scale.templates import read, trust

ROLE = "cluster_keys"
HOST_KEYS = [f"ssh-rsa {'A' * 544}", f"ecdsa-sha2-nistp256 {'A' * 140}", f"ssh-ed25519 {'A' * 68}"]
TASK = "Set up SSH between the hosts"


def make_templar(hosts: int, name: str, *, public_keys: Mapping[int, str] = {}) -> Templar:
    """Make the variables of one host of a cluster; ``public_keys`` are those of its hosts, by number."""
    names = [f"rack_factory_{index}" for index in range(hosts)]
    infos = {
        one: {
            "names": [f"10.0.{index >> 8}.{index & 255}", one],
            "host_keys": HOST_KEYS,
            "port": 22,
            "public_key": public_keys.get(index, ""),
            "known": [],
        }
        for index, one in enumerate(names)
    }
    variables = {
        **trust(read_task()["vars"]),
        "ansible_play_hosts": names,
        "ansible_play_hosts_all": names,
        "ansible_play_batch": names,
        "inventory_hostname": name,
        "hostvars": {one: {"__cluster_keys_info": info, "inventory_hostname": one} for one, info in infos.items()},
        "__cluster_keys_found": {"public_key": "k"},
        "__cluster_keys_info": infos[name],
        "__cluster_keys_pair": {"private_key": "p"},
    }
    return templates.make_templar(ROLE, **variables)


def read_task() -> dict[str, Any]:
    [task] = [one for one in read(ROLE, "tasks/main.yml") if one["name"] == TASK]
    return dict(task)


def send(hosts: int, name: str) -> dict[str, Any]:
    """Return the arguments of the module on one host of a cluster."""
    arguments: dict[str, Any] = make_templar(hosts, name).template(trust(read_task()["flambe.cluster.cluster_keys"]))
    return arguments


def test_every_host_of_a_small_cluster_gets_all() -> None:
    found = send(64, "rack_factory_7")
    assert len(found["hosts"]) == len(found["members"]) == 64
    assert found["source"] == ""


def test_in_a_large_cluster_only_the_source_gets_all() -> None:
    source, other = send(256, "rack_factory_0"), send(256, "rack_factory_7")
    assert (len(source["hosts"]), source["source"]) == (256, "")
    assert [one["name"] for one in other["hosts"]] == other["members"] == ["rack_factory_0", "rack_factory_7"]
    assert other["source"] == "rack_factory_0"


def test_the_bytes_grow_with_the_number_of_hosts() -> None:
    def count(hosts: int) -> int:
        source, other = (len(json.dumps(send(hosts, f"rack_factory_{index}"))) for index in (0, 7))
        return source + (hosts - 1) * other

    few, many = count(250), count(1000)
    assert many <= 4.5 * few
    assert many < 4_000_000


def test_the_key_is_searched_once_for_all_hosts() -> None:
    tasks = read(ROLE, "tasks/main.yml")
    [search] = [one for one in tasks if "ansible.builtin.set_fact" in one]
    assert search["run_once"] is True
    others = [one for one in tasks if one is not search]
    for name in ("__cluster_keys_search", "__cluster_keys_seen", "__cluster_keys_holders"):
        assert name not in json.dumps(others)


@pytest.mark.parametrize(
    ("public_keys", "found"),
    [
        ({}, {"holder": "rack_factory_0", "public_key": "", "lacking": True}),
        ({2: "k"}, {"holder": "rack_factory_2", "public_key": "k", "lacking": True}),
        ({0: "k", 1: "other", 2: "k"}, {"holder": "rack_factory_0", "public_key": "k", "lacking": True}),
        (dict.fromkeys(range(3), "k"), {"holder": "rack_factory_0", "public_key": "k", "lacking": False}),
    ],
)
def test_the_holder_of_the_key_is_found(public_keys: dict[int, str], found: dict[str, Any]) -> None:
    templar = make_templar(3, "rack_factory_1", public_keys=public_keys)
    assert templar.template(trust("{{ __cluster_keys_search }}")) == {**found, "problem": "", "first": A}


A, B, C = (f"rack_factory_{index}" for index in range(3))
BATCH = {"ansible_play_batch": [A]}
UNREAD = "has no host keys of {}, which this play has not read: run role cluster_keys in one play of all hosts"


@pytest.mark.parametrize(
    ("read", "known", "changes", "found"),
    [
        ([A, B, C], [], {}, ""),
        # In the first batch of serial, or as the first of two plays.
        ([A], [], BATCH, f"{A} {UNREAD.format(f'{B}, {C}')}"),
        (
            [A],
            [],
            {"ansible_play_hosts": [A], "ansible_play_hosts_all": [A], **BATCH},
            f"{A} {UNREAD.format(f'{B}, {C}')}",
        ),
        # In the last batch, or as the second of two plays.
        ([A, B, C], [], {"ansible_play_batch": [C], "ansible_play_hosts": [C], "ansible_play_hosts_all": [C]}, ""),
        # An earlier run wrote the host keys.
        ([A], [B, C], BATCH, ""),
        ([A], [B], BATCH, f"{A} {UNREAD.format(C)}"),
        # C has failed in this play.
        ([A, B], [], {"ansible_play_hosts": [A, B], "ansible_play_batch": [A, B]}, ""),
        # C is outside of --limit.
        (
            [A, B],
            [],
            {
                "ansible_limit": f"{A},{B}",
                "ansible_play_hosts": [A, B],
                "ansible_play_hosts_all": [A, B],
                "ansible_play_batch": [A, B],
            },
            "",
        ),
        # Each host of a large cluster needs only the source.
        ([A, B], [], {"cluster_keys_mesh_limit": 2, "ansible_play_batch": [B]}, ""),
        ([B], [], {"cluster_keys_mesh_limit": 2, "ansible_play_batch": [B]}, f"{B} {UNREAD.format(A)}"),
    ],
)
def test_hosts_that_were_not_read_are_a_problem(
    read: list[str], known: list[str], changes: dict[str, Any], found: str
) -> None:
    templar = make_templar(3, A)
    variables = templar.available_variables
    for name, host in variables["hostvars"].items():
        host["__cluster_keys_info"]["known"] = known
        if name not in read:
            del host["__cluster_keys_info"]
    templar.available_variables = {**variables, "cluster_keys_hosts": [A, B, C], **changes}
    problem = templar.template(trust("{{ __cluster_keys_problem }}"))
    assert problem.startswith(found)
    assert bool(problem) is bool(found)


@pytest.mark.parametrize(("host", "refused"), [(A, False), (B, True)])
def test_another_strategy_than_linear_is_refused(host: str, refused: bool) -> None:
    """It ignores run_once, so that the tasks that run once run on every host."""
    templar = make_templar(3, host)
    templar.available_variables = {**templar.available_variables, "__cluster_keys_found": {"problem": "", "first": A}}
    refusal = templar.template(trust("{{ __cluster_keys_refusal }}"))
    assert refusal == (
        "the hosts of a cluster exchange their keys: run role cluster_keys with the linear strategy" if refused else ""
    )
