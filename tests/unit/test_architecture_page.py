"""The architecture page lists the packages that exist, and its table of changes is correct."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest
import rich_click as click
import yaml

from flambe_ansible import AWSCluster, Cluster, LabCluster, SSHCluster
from flambe_ansible.cli.app import COMMANDS, app
from flambe_ansible.cluster.loading import CLASSES
from flambe_ansible.config.kinds import SCHEMAS
from flambe_ansible.runtimes import make_runtime
from flambe_ansible.validation.runtime_fields import RUNTIMES

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "architecture.md").read_text()


def read_table(heading: str) -> list[list[str]]:
    """Return the cells of the first table below a heading."""
    text = PAGE.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    lines = [line for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def test_every_package_and_module_is_on_the_page() -> None:
    here = ROOT / "flambe_ansible"
    found = {f"{path.name}/" for path in here.iterdir() if (path / "__init__.py").is_file()}
    found |= {path.name for path in here.glob("*.py")} - {"__init__.py"}
    named = {name for row in read_table("Packages") for name in re.findall(r"`([\w.]+/?)`", row[0])}
    assert {name for name in named if name.endswith(("/", ".py"))} - {"playbooks/", "roles/", "plugins/"} == found


@pytest.mark.parametrize("row", read_table("To add something"), ids=lambda row: row[0])
def test_files_in_the_table_exist(row: list[str]) -> None:
    paths = re.findall(r"`([\w./]+)`", " ".join(row[1:]))
    assert len(paths) >= 2
    for path in paths:
        assert (ROOT / path).exists(), path


def test_a_command_needs_a_module_and_a_line() -> None:
    modules = {path.stem for path in (ROOT / "flambe_ansible/cli/commands").glob("*.py")} - {"__init__"}
    commands = {name: app.get_command(click.Context(app), name) for name in COMMANDS}
    assert {one.callback.__module__.rpartition(".")[2] for one in commands.values() if one and one.callback} == modules
    assert [one.name for one in commands.values() if one] == list(COMMANDS)


def test_a_provider_needs_a_line_in_one_table() -> None:
    assert CLASSES.keys() == SCHEMAS.keys()


def test_a_runtime_needs_a_name_and_a_class() -> None:
    assert [make_runtime(name).name for name in RUNTIMES] == list(RUNTIMES)
    [play] = yaml.safe_load((ROOT / "playbooks/site.yml").read_text())
    conditions = {
        task["ansible.builtin.import_role"]["name"].rpartition(".")[2]: task.get("when", "")
        for task in play["tasks"]
        if "ansible.builtin.import_role" in task
    }
    for name in RUNTIMES:
        runtime = make_runtime(name)
        tags = [*runtime.install_tags, *([runtime.ray.tag] if runtime.ray else [])]
        assert set(tags) <= conditions.keys(), name
    assert all("cluster_runtime" in conditions[role] for role in ("flambe", "ray_node"))


def test_no_class_is_more_than_two_steps_from_cluster() -> None:
    for kind in (AWSCluster, LabCluster, SSHCluster):
        assert inspect.getmro(kind).index(Cluster) <= 2
    assert [one.__name__ for one in inspect.getmro(Cluster)] == ["Cluster", "Runnable", "ABC", "object"]


def test_only_runtimes_contain_constants_of_a_runtime() -> None:
    facts = re.compile(r"/opt/flambe\b(?!-)|\b12345\b|\b4955[68]\b|flambe-ray\.service|flambe-run\.service|0\.4\.18")
    found = {
        str(path.relative_to(ROOT / "flambe_ansible"))
        for path in (ROOT / "flambe_ansible").rglob("*.py")
        if facts.search(re.sub(r'""".*?"""|#.*', "", path.read_text(), flags=re.DOTALL))
    }
    assert {name for name in found if not name.startswith("runtimes/")} <= {"validation/fields.py"}, found
