"""Clusters loaded from files; problems that ``parse()`` finds have positions in the file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import flambe_ansible
from flambe_ansible.cluster import loading
from flambe_ansible.config.kinds import SCHEMAS
from flambe_ansible.errors import ClusterConfigurationError, Problem

TEXT = "!LabCluster\nname: a\nsetup_cmds:\n- ls\n- ls\n"


class Refusing:
    """A cluster whose ``parse()`` finds problems."""

    problems: tuple[Problem, ...] = ()

    def __init__(self, **values: Any) -> None:
        self.values = values

    def parse(self) -> None:
        raise ClusterConfigurationError("all wrong", problems=self.problems)


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setitem(loading.CLASSES, "!LabCluster", (__name__, "Refusing"))
    path = tmp_path / "cluster.yaml"
    path.write_text(TEXT)
    return path


@pytest.mark.parametrize(
    ("field", "position"),
    [("name", "2:7"), ("setup_cmds[1]", "5:3"), ("setup_cmds[9]", "4:1"), ("lab", "1:1"), ("", "1:1")],
)
def test_problems_of_parse_have_the_position_of_their_field(
    file: Path, monkeypatch: pytest.MonkeyPatch, field: str, position: str
) -> None:
    monkeypatch.setattr(Refusing, "problems", (Problem(file="", line=0, column=0, message="will not do", field=field),))
    with pytest.raises(ClusterConfigurationError) as caught:
        loading.load_cluster(file)
    assert str(caught.value) == f"{file}:{position}: will not do"


def test_an_error_of_parse_without_problems_has_the_position_of_the_tag(file: Path) -> None:
    with pytest.raises(ClusterConfigurationError) as caught:
        loading.load_cluster(file)
    assert str(caught.value) == f"{file}:1:1: all wrong"


def test_every_tag_has_a_class() -> None:
    assert set(loading.CLASSES) == set(SCHEMAS)
    for name in loading.CLASSES:
        assert issubclass(getattr(flambe_ansible, name.removeprefix("!")), flambe_ansible.Cluster)


def test_the_public_name() -> None:
    assert flambe_ansible.load_cluster is loading.load_cluster


def test_a_python_without_wheels_of_ray_has_its_position(tmp_path: Path) -> None:
    path = tmp_path / "cluster.yaml"
    path.write_text("!LabCluster\nname: a\nruntime: {ray: 2.30.0, python: '3.12'}\n")
    with pytest.raises(ClusterConfigurationError) as caught:
        loading.load_cluster(path)
    expected = "runtime.python is 3.12, and Ray 2.30.0 has no wheels for it; expected 3.9 to 3.11"
    assert str(caught.value.problems[0]) == f"{path}:3:32: {expected}"
