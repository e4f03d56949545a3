from __future__ import annotations

import pytest

from flambe_ansible.ec2 import tags
from flambe_ansible.hosts import Role

CLUSTER = tags.ClusterTags(name="trial", creator="ada@example.com", user_tags={"company": "engines"})


def test_build_returns_the_users_tags_and_the_managed_tags() -> None:
    assert CLUSTER.build(Role.FACTORY, "trial_factory_1") == {
        "company": "engines",
        "creator": "ada@example.com",
        "Purpose": "flambe",
        "Cluster-Name": "trial",
        "Role": "Factory",
        "Name": "trial_factory_1",
    }


def test_filters() -> None:
    assert CLUSTER.filters == {
        "tag:Purpose": ["flambe"],
        "tag:Cluster-Name": ["trial"],
        "tag:creator": ["ada@example.com"],
        "tag:Role": ["Orchestrator", "Factory"],
    }


@pytest.mark.parametrize("creator", ["a*", "a?", "a\\b"])
def test_filters_omit_values_that_ec2_reads_as_patterns(creator: str) -> None:
    cluster = tags.ClusterTags(name="trial", creator=creator)
    assert "tag:creator" not in cluster.filters
    assert cluster.matches(cluster.build(Role.ORCHESTRATOR, "trial_orchestrator"))
    assert not cluster.matches({**cluster.build(Role.ORCHESTRATOR, "x"), "creator": "abc"})


@pytest.mark.parametrize(
    ("key", "value"), [("creator", "Ada@example.com"), ("Purpose", "x"), ("Cluster-Name", "trial2"), ("Role", "Boss")]
)
def test_matches_rejects_other_values(key: str, value: str) -> None:
    assert not CLUSTER.matches({**CLUSTER.build(Role.FACTORY, "n"), key: value})


@pytest.mark.parametrize(
    ("name", "index"),
    [
        ("trial_factory_0", 0),
        ("trial_factory_12", 12),
        ("trial_factory", None),
        ("trial_factory_01", None),
        ("trial_factory_-1", None),
        ("trial2_factory_1", None),
        ("trial_factory_1 ", None),
        ("", None),
    ],
)
def test_read_index(name: str, index: int | None) -> None:
    assert tags.read_index("trial", name) == index


def _names(*indices: int | None) -> list[str]:
    return ["trial_factory" if index is None else f"trial_factory_{index}" for index in indices]


@pytest.mark.parametrize(
    ("names", "indices"),
    [
        (_names(), []),
        (_names(0, 1), [0, 1]),
        (_names(2, 0), [2, 0]),
        (_names(None, None, None), [0, 1, 2]),
        (_names(1, None), [1, 0]),
        (_names(0, 2, None, None), [0, 2, 1, 3]),
        (_names(0, 0), [0, 1]),
        (_names(1, 1, 1, 0), [1, 2, 3, 0]),
        (["renamed by a user", "trial_factory_0"], [1, 0]),
    ],
)
def test_assign_indices_keeps_numbers_and_fills_gaps(names: list[str], indices: list[int]) -> None:
    assert tags.assign_indices("trial", names) == indices


@pytest.mark.parametrize(
    ("role", "indices", "name"),
    [
        (Role.ORCHESTRATOR, (0,), "trial_orchestrator"),
        (Role.FACTORY, (3,), "trial_factory_3"),
        (Role.FACTORY, (0, 1), "trial_factory"),
        (Role.FACTORY, (), "trial_factory"),
    ],
)
def test_initial_name(role: Role, indices: tuple[int, ...], name: str) -> None:
    assert tags.initial_name("trial", role, indices) == name


def test_find_outdated_ignores_other_tags() -> None:
    assert tags.find_outdated({"a": "1", "b": "2", "c": "3"}, {"a": "1", "b": "x", "other": "y"}) == {
        "b": "2",
        "c": "3",
    }
