"""Malformed configurations: each has one problem, with its position."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from flambe_ansible.errors import ClusterConfigurationError

from .conftest import read
from .malformed import LAB, MALFORMED, aws


@pytest.mark.parametrize(("text", "place", "message", "more"), MALFORMED.values(), ids=MALFORMED)
def test_one_problem_with_its_position(
    write: Callable[[str | bytes], Path],
    text: str | bytes,
    place: str,
    message: str,
    more: str,
) -> None:
    path = write(text)
    with pytest.raises(ClusterConfigurationError) as caught:
        read(path)
    assert len(caught.value.problems) == 1, str(caught.value)
    problem = str(caught.value.problems[0])
    assert problem.startswith(f"{path}:{place}: " if place else f"{path}: ")
    assert message in problem
    assert more in problem
    assert "\n" not in problem
    assert caught.value.exit_code == 3


def test_the_table_is_long_enough() -> None:
    assert len(MALFORMED) >= 60


def test_all_problems_are_reported_in_the_order_of_their_positions(write: Callable[[str], Path]) -> None:
    path = write("!AWSCluster\ntags: {name: x}\nname: 'a b'\nfactories_num: zero\ncolour: red\nname: b\nkey: id.pub\n")
    with pytest.raises(ClusterConfigurationError) as caught:
        read(path)
    found = [(one.line, one.column, one.message.split()[0]) for one in caught.value.problems]
    missing = ["factories_type", "orchestrator_type", "creator"]
    assert found == [
        *((1, 1, name) for name in missing),
        (2, 8, "tags.name"),
        (3, 7, "name"),
        (4, 16, "factories_num"),
        (5, 1, "unknown"),
        (6, 1, "name"),
        (7, 6, "key"),
    ]
    assert str(caught.value).count("\n") == len(found) - 1


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nothing.yaml", "no such file"),
        ("clustre.yaml", "cluster.yaml?"),
        ("keys", "this is a folder"),
        ("id/cluster.yaml", "cannot be read"),
        ("a\0b", "cannot be read"),
    ],
)
def test_unreadable_files(write: Callable[[str], Path], name: str, message: str) -> None:
    path = write(LAB).parent / name
    with pytest.raises(ClusterConfigurationError, match=message.replace("?", r"\?")) as caught:
        read(path)
    assert len(caught.value.problems) == 1


def test_a_secret_in_a_command_or_key_is_not_repeated(write: Callable[[str], Path]) -> None:
    text = aws("key: ", "key: '-----BEGIN RSA PRIVATE KEY----- hunter2'") + "setup_cmds: [[hunter2], {hunter2: x}]\n"
    with pytest.raises(ClusterConfigurationError) as caught:
        read(write(text))
    assert len(caught.value.problems) == 3
    assert "hunter2" not in str(caught.value)
