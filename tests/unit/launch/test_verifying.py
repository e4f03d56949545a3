"""Which roles are played on which hosts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import jinja2
import pytest

from flambe_ansible.fleet import inputs, observing
from flambe_ansible.fleet.inputs import list_roles, plays_once, read_inputs
from flambe_ansible.fleet.receipts import Verification, read_relations
from flambe_ansible.hosts import Role
from flambe_ansible.launch.verifying import Findings, Selection, _compare_launches, describe, list_needed
from flambe_ansible.runtimes import make_runtime
from flambe_ansible.validation.runtime_fields import RUNTIMES

ALL = ("idle_shutdown", "setup_cmds", "cluster_keys", "python_env", "ray_node", "ray_jobs")
ON_HEAD = (*ALL[:4], "cluster_secrets", "ray_node", "ray_jobs", "tensorboard")
HEAD, ONE, TWO = "head", "one", "two"


def verify(
    differs: Mapping[str, Sequence[str]], *, text: str = "a changed", launches: Mapping[str, str] | None = None
) -> dict[str, Verification]:
    """Make what was found on the hosts; a new host has no roles, and differs in all."""
    return {
        name: Verification(
            differs=dict.fromkeys(differs.get(name, ()), text),
            roles={role: (launches or {}).get(name, "l1") for role in (ON_HEAD if name == HEAD else ALL)},
        )
        for name in (HEAD, ONE, TWO)
    }


def select(differs: Mapping[str, Sequence[str]], *, new: Sequence[str] = ()) -> Selection:
    found = verify(differs)
    for name in new:
        roles = dict.fromkeys(ON_HEAD if name == HEAD else ALL, observing.NO_RECEIPT)
        found[name] = Verification(reason=observing.NO_RECEIPT, differs=roles)
    return Findings(hosts=found, head=HEAD).select()


def on_all(*roles: str) -> dict[str, list[str]]:
    return {name: list(roles) for name in (HEAD, ONE, TWO)}


RAY = ["ray_node"]
SHARED = ["cluster_keys", "python_env", "ray_node"]
LATER = ["setup_cmds", "cluster_keys", "python_env", "ray_node", "ray_jobs"]


@pytest.mark.parametrize(
    ("differs", "expected"),
    [
        ({}, {}),
        ({ONE: ["idle_shutdown"]}, {ONE: ["idle_shutdown"]}),
        (on_all("idle_shutdown"), on_all("idle_shutdown")),
        ({ONE: RAY}, {ONE: RAY}),
        ({ONE: RAY, TWO: ["ray_jobs"]}, {ONE: RAY, TWO: ["ray_node", "ray_jobs"]}),  # they read each other's results
        ({ONE: ["idle_shutdown"], TWO: ["ray_jobs"]}, {ONE: ["idle_shutdown"], TWO: ["ray_jobs"]}),
        ({HEAD: ["cluster_secrets", "tensorboard"]}, {HEAD: ["cluster_secrets", "tensorboard"]}),
        ({HEAD: RAY}, on_all("ray_node")),  # the others join the new head
        ({HEAD: ["tensorboard"], ONE: RAY}, {HEAD: ["ray_node", "tensorboard"], ONE: RAY, TWO: RAY}),
        ({TWO: ["cluster_keys"]}, on_all("cluster_keys")),
        ({TWO: ["python_env"]}, on_all("python_env", "ray_node")),
        ({ONE: ["setup_cmds"]}, {**on_all(*SHARED), ONE: LATER}),
    ],
)
def test_roles_and_hosts(differs: Mapping[str, Sequence[str]], expected: Mapping[str, list[str]]) -> None:
    assert select(differs).by_host == {name: expected[name] for name in (HEAD, ONE, TWO) if name in expected}


def test_a_new_host_gets_all_roles_and_the_others_those_that_need_all_hosts() -> None:
    chosen = select({}, new=[TWO])
    assert chosen.by_host == {**on_all(*SHARED), TWO: list(ALL)}
    assert chosen.roles == list(ALL)
    assert chosen.skipped == {role: [HEAD, ONE] for role in ("idle_shutdown", "setup_cmds", "ray_jobs")}
    first = select({}, new=[HEAD, ONE, TWO])
    assert first.by_host == {HEAD: list(ON_HEAD), ONE: list(ALL), TWO: list(ALL)}
    assert first.skipped == {}  # the roles of the first host alone are no exception


def test_roles_that_need_all_hosts_are_played_if_several_launches_did() -> None:
    """Such as on a host of another image, or one that did not answer to the last launch."""
    same = verify({})
    assert _compare_launches(same) == same
    found = Findings(hosts=_compare_launches(verify({}, launches={TWO: "l2"})), head=HEAD)
    assert found.select().by_host == on_all(*SHARED)
    assert describe(found.hosts) == ["all hosts: not set up on all hosts at once: cluster_keys, python_env"]


@pytest.mark.parametrize(
    ("differs", "text", "messages"),
    [
        ({}, "", []),
        ({ONE: ["ray_node", "ray_jobs"]}, "a changed", ["one: a changed"]),
        ({ONE: ["ray_node"], TWO: ["ray_jobs"]}, "a changed", ["one, two: a changed"]),
        (on_all("ray_jobs"), "a changed", ["all hosts: a changed"]),
        ({ONE: ["ray_node", "ray_jobs"]}, observing.CHANGED, ["one: the configuration of ray_node, ray_jobs changed"]),
        ({ONE: ALL}, observing.CHANGED, ["one: the configuration changed"]),
        ({ONE: ["cluster_containers"]}, observing.MISSING, ["one: not set up yet: cluster_containers"]),
    ],
)
def test_differences_are_one_line_for_each_kind(
    differs: Mapping[str, Sequence[str]], text: str, messages: list[str]
) -> None:
    assert describe(verify(differs, text=text)) == messages


def test_many_hosts_are_counted_and_new_ones_are_left_out() -> None:
    roles, differs = {"idle_shutdown": "l1"}, {"idle_shutdown": "a changed"}
    many = {f"host{number}": Verification(differs=differs, roles=roles) for number in range(5)}
    from_image = Verification(differs={"idle_shutdown": observing.MISSING}, roles={"python_env": "l1"})
    new = Verification(reason=observing.NO_RECEIPT, differs={"idle_shutdown": observing.NO_RECEIPT})
    old = Verification(reason="has version 1", differs={"idle_shutdown": "has version 1"})
    found = {**many, "image": from_image, "new": new, "old": old}
    assert describe(found) == ["host0 and 4 other hosts: a changed", "old: has version 1"]


@pytest.mark.parametrize("role", list_roles())
def test_a_role_affects_only_later_roles(role: str) -> None:
    relations, roles = read_relations(role), list_roles()
    assert set(relations.affects) <= set(roles[roles.index(role) + 1 :])
    assert relations.together in ("", "always", "with_head")


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_launch_plays_no_role_of_another_runtime(runtime: str) -> None:
    """The conditions of the playbook are the same, for those who play it without this package."""
    known = {
        "cluster_runtime": runtime,
        "cluster_docker": True,
        "site_plays": True,
        "inventory_hostname": HEAD,
        "site_orchestrators": [HEAD],
        "tensorboard_logdir": "runs",
    }
    environment = jinja2.Environment()
    environment.filters["bool"] = bool
    played = [
        role
        for role, task in inputs._read_imports().items()
        if environment.compile_expression(str(task.get("when", "true")))(**known)
    ]
    given = dict.fromkeys((read_relations(role).needs for role in list_roles()), "given")
    assert list_needed(make_runtime(runtime), given) == played
    assert "setup_cmds" in played


def test_the_playbook_skips_roles_only_on_hosts_that_read_no_results_of_others() -> None:
    """Without the condition, it plays them on all hosts of a run, as ``Findings.select`` does."""
    skippable = [role for role, task in inputs._read_imports().items() if "site_plays" in str(task.get("when"))]
    assert skippable == [role for role in list_roles() if not read_inputs(role).shares and not plays_once(role)]
    assert skippable == ["idle_shutdown", "setup_cmds", "cluster_gpu", "cluster_containers", "flambe", "ray_jobs"]


@pytest.mark.parametrize(
    ("roles", "tags"),
    [
        (
            ["idle_shutdown", "cluster_keys", "ray_node", "ray_jobs"],
            ["idle_shutdown", "cluster_keys", "ray_node_first", "ray_jobs"],
        ),
        (["cluster_keys", "python_env", "ray_node"], ["cluster_keys", "python_env", "ray_node"]),
        (["setup_cmds", "ray_node"], ["setup_cmds", "ray_node"]),
        (["cluster_containers", "ray_node"], ["cluster_containers", "ray_node"]),
        (["cluster_gpu"], ["cluster_gpu"]),
    ],
)
def test_ray_starts_first_unless_what_it_needs_is_played(roles: list[str], tags: list[str]) -> None:
    assert Selection(by_host={HEAD: roles, ONE: roles[-1:]}).tags == tags


def test_a_role_without_its_variable_or_its_host_is_not_played() -> None:
    variables = {"setup_cmds_commands": [], "cluster_secrets_src": ""}
    assert list_needed(make_runtime("none"), variables) == ["idle_shutdown", "cluster_gpu", "cluster_keys"]
    variables["cluster_secrets_src"] = "/secrets.ini"
    assert "cluster_secrets" in list_needed(make_runtime("ray"), variables)
    assert not {"cluster_secrets", "tensorboard"} & {*list_needed(make_runtime("ray"), variables, on=Role.FACTORY)}
