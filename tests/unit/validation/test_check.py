"""Arguments given in Python are checked against the tables of fields."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from flambe_ansible.errors import ClusterConfigurationError
from flambe_ansible.validation import AWS_CLUSTER, LAB_CLUSTER, check_arguments
from flambe_ansible.validation.schema import suggest

WRONG: list[tuple[dict[str, Any], str]] = [
    ({"name": 5}, "name is 5; expected 1 to 64 letters"),
    ({"name": None}, "name has no value"),
    ({"name": ""}, "name is empty"),
    ({"name": "a\n"}, 'name is "a\\n"'),
    ({"factories_num": True}, "factories_num is True"),
    ({"factories_num": "2"}, 'factories_num is "2"; expected a whole number'),
    ({"factories_num": 2.5}, "factories_num is 2.5"),
    ({"factories_num": 10**400}, "factories_num is 1000"),
    ({"volume_size": float("nan")}, "volume_size is nan"),
    ({"volume_size": float("inf")}, "volume_size is inf"),
    ({"dedicated": 1}, "dedicated is 1; expected true or false"),
    ({"setup_cmds": "ls"}, "setup_cmds is a str; expected a list of commands"),
    ({"setup_cmds": ["ls", None]}, "setup_cmds[1] is empty, not a command"),
    ({"setup_cmds": ["a\0b"]}, "setup_cmds[0] contains a NUL character"),
    ({"tags": {1: "a"}}, "tags.1 has the key 1, which is not text"),
    ({"tags": {"a": 1}}, "tags.a is 1, which is not text"),
    ({"tags": {"": "a"}}, "tags has a key of 0 characters"),
    ({"tags": {"Name": "a"}}, "tags.Name is a tag that the cluster sets itself"),
    ({"tags": [("a", "b")]}, "tags is [('a', 'b')]"),
    ({"key": "a\0b"}, "key contains a NUL character"),
    ({"key": Path("/no/such/key")}, 'key is "/no/such/key", but this file does not exist'),
    ({"creator": "a\x1b[31m"}, "creator contains a control character"),
    ({"orchestrator_timeout": 2, "factories_timeout": 3}, "orchestrator_timeout is 2, but factories_timeout is 3"),
    (
        {"orchestrator_timeout": 2, "factories_timeout": -1},
        "orchestrator_timeout is 2, but factories_timeout is -1 (never)",
    ),
    ({"volume_type": "io1", "volume_size": 99}, "volume_size is 99; expected 100 to 16384 GB"),
    ({"flambe_version": "0.4.*"}, 'flambe_version is "0.4.*"'),
]


@pytest.mark.parametrize(("values", "message"), WRONG, ids=lambda one: next(iter(one)) if isinstance(one, dict) else "")
def test_invalid_values(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ClusterConfigurationError) as caught:
        check_arguments(AWS_CLUSTER, values)
    assert len(caught.value.problems) == 1
    problem = caught.value.problems[0]
    assert str(problem).startswith(f"AWSCluster: {message}")
    assert problem.field.split("[")[0].split(".")[0] in values
    assert (problem.line, problem.column) == (0, 0)
    assert str(problem).isprintable()


def test_a_rule_about_several_fields_is_skipped_when_one_is_wrong() -> None:
    with pytest.raises(ClusterConfigurationError) as caught:
        check_arguments(AWS_CLUSTER, {"orchestrator_timeout": 2, "factories_timeout": "3"})
    assert [one.field for one in caught.value.problems] == ["factories_timeout"]


def test_all_problems_are_reported() -> None:
    with pytest.raises(ClusterConfigurationError) as caught:
        check_arguments(AWS_CLUSTER, {"name": "", "tags": {"creator": "", "NAME": ""}, "volume_size": 1})
    assert [one.field for one in caught.value.problems] == ["name", "tags.creator", "tags.NAME", "volume_size"]


def test_valid_values_are_converted() -> None:
    values = check_arguments(
        LAB_CLUSTER, {"name": "a", "volume_size": 100.0, "setup_timeout": 5, "tags": None, "own": {}}
    )
    assert values == {"name": "a", "volume_size": 100, "setup_timeout": 5.0, "tags": None, "own": {}}
    assert isinstance(values["volume_size"], int)
    assert isinstance(values["setup_timeout"], float)


@pytest.mark.parametrize(
    ("word", "meant"),
    [("factory_num", "factories_num"), ("Factories-Num", "factories_num"), ("tag", "tags"), ("zzz", ""), ("", "")],
)
def test_suggestions(word: str, meant: str) -> None:
    assert suggest(word, ["factories_num", "tags", "name"]) == meant
