"""Rules for the files of every role."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from flambe_ansible.hosts import Role
from flambe_ansible.launch.verifying import PLAYED_FIRST, list_needed
from flambe_ansible.paths import collection, collections_root
from flambe_ansible.runtimes import make_runtime
from tests.roles.examples import read_example

FORMER = ("extensions", "runner", "secrets")
ROLES = sorted(path for path in (collection() / "roles").iterdir() if path.name not in FORMER)
GROUPS = ("orchestrator", "factories")
ALLOWED = ("ansible.builtin.", "flambe.cluster.")
ON_THE_CONTROLLER = {
    "ansible.builtin.assert",
    "ansible.builtin.fail",
    "ansible.builtin.set_fact",
    "flambe.cluster.check_variables",
}
KEYWORDS = {
    "name", "register", "become", "become_user", "when", "vars", "no_log", "diff", "delegate_to", "run_once",
    "changed_when", "module_defaults", "block", "loop",
}  # fmt: skip


def read(path: Path) -> Any:
    return yaml.safe_load(path.read_text())


CONDITIONAL = ("join.yml", "late.yml")
INCLUDES = ("ansible.builtin.import_tasks", "ansible.builtin.include_tasks")


def tasks(role: Path, start: str = "main.yml") -> list[dict[str, Any]]:
    """Return the tasks of a role in their order, with those of the files that it includes."""
    found: list[dict[str, Any]] = []
    waiting = list(read(role / "tasks" / start))
    while waiting:
        task = waiting.pop(0)
        included = [one for name in INCLUDES if name in task for one in read(role / "tasks" / task[name])]
        waiting = [*task.get("block", []), *included, *waiting]
        found.append(task)
    return found


def test_all_files_with_tasks_are_included() -> None:
    for role in ROLES:
        included = {task[name] for task in tasks(role) for name in INCLUDES if name in task}
        assert {path.name for path in (role / "tasks").glob("*.yml")} == {"main.yml", *included}


each_role = pytest.mark.parametrize("role", ROLES, ids=lambda role: role.name)


@each_role
def test_argument_specs_equal_defaults(role: Path) -> None:
    options = read(role / "meta/argument_specs.yml")["argument_specs"]["main"]["options"]
    defaults = {name: "" if option.get("required") else option["default"] for name, option in options.items()}
    assert defaults == read(role / "defaults/main.yml")
    assert all(option.get("description") and option.get("type") for option in options.values())


@each_role
def test_names_of_variables(role: Path) -> None:
    assert all(name.startswith(f"{role.name}_") for name in read(role / "defaults/main.yml"))
    internal = role / "vars/main.yml"
    assert not internal.exists() or all(name.startswith(f"__{role.name}_") for name in read(internal))


PROGRAMS = sorted(path.parents[2] for path in (collection() / "roles").glob("*/files/*/__main__.py"))


@pytest.mark.parametrize("role", PROGRAMS, ids=lambda role: role.name)
def test_a_role_installs_every_module_of_its_program(role: Path) -> None:
    (package,) = (path.parent for path in role.glob("files/*/__main__.py"))
    listed = read(role / "vars/main.yml")[f"__{role.name}_modules"]
    assert listed == sorted(path.name for path in package.glob("*.py"))


@each_role
def test_every_default_has_a_comment_before_it(role: Path) -> None:
    lines = (role / "defaults/main.yml").read_text().splitlines()
    for number, line in enumerate(lines):
        if re.match(r"[a-z]", line):
            # One comment may describe adjacent variables.
            above = lines[number - 1]
            assert above.startswith("#") or re.match(r"[a-z ]", above), line


@each_role
def test_only_builtin_modules_and_those_of_the_collection(role: Path) -> None:
    for task in tasks(role):
        modules = set(task) - KEYWORDS
        assert all(module.startswith(ALLOWED) for module in modules), modules
        assert len(modules) == (0 if "block" in task else 1), modules


@each_role
def test_the_first_module_of_a_role_checks_its_variables(role: Path) -> None:
    own = [task for task in tasks(role) if "delegate_to" not in task]
    modules = [module for task in own for module in task if module.startswith("flambe.cluster.")]
    assert (collection() / f"plugins/action/{modules[0].rpartition('.')[2]}.py").is_file()


@each_role
def test_tasks_become_root_whatever_user_the_play_becomes(role: Path) -> None:
    assert all(task.get("become_user") == ("root" if task.get("become") else None) for task in tasks(role))


@each_role
def test_no_group_names(role: Path) -> None:
    for path in role.rglob("*.yml"):
        assert "groups" not in path.read_text(), path
        assert not any(re.search(rf"\b{group}\b", path.read_text()) for group in GROUPS), path


@each_role
def test_readme_lists_every_variable_and_shows_an_example(role: Path) -> None:
    text = (role / "README.md").read_text()
    assert f"role: flambe.cluster.{role.name}" in text
    assert all(f"`{name}`" in text for name in read(role / "defaults/main.yml"))


@pytest.mark.parametrize("name", FORMER)
def test_the_former_name_of_a_role_plays_it_and_its_former_variables_are_accepted(name: str) -> None:
    [task] = tasks(collection() / "roles" / name)
    assert task["ansible.builtin.import_role"]["name"] == f"flambe.cluster.cluster_{name}"
    for variable, value in read(collection() / f"roles/cluster_{name}/defaults/main.yml").items():
        assert value.startswith(f"{{{{ {variable.removeprefix('cluster_')} | default("), value


@each_role
def test_the_readme_describes_the_variable_that_the_role_sets(role: Path) -> None:
    public = {task["register"] for task in tasks(role) if not task.get("register", "__").startswith("__")}
    assert public == {f"{role.name}_info"}
    assert f"the variable `{role.name}_info` of each host has" in (role / "README.md").read_text()


def test_every_role_of_the_site_has_its_tag() -> None:
    [play] = read(collection() / "playbooks/site.yml")
    for task in play["tasks"][2::2]:
        role = task["ansible.builtin.import_role"]
        assert role["name"] == f"flambe.cluster.{task['tags'][0]}"
        assert "site_validate" in role["rolespec_validate"]
        assert (collection() / "roles" / task["tags"][0] / "tasks" / f"{role.get('tasks_from', 'main')}.yml").is_file()


def test_ray_starts_before_or_after_what_it_needs_and_is_awaited_last() -> None:
    [play] = read(collection() / "playbooks/site.yml")
    places = [
        (index, task["ansible.builtin.import_role"]["tasks_from"], task["tags"])
        for index, task in enumerate(play["tasks"][::2])
        if task.get("ansible.builtin.import_role", {}).get("name") == "flambe.cluster.ray_node"
    ]
    (first, *one), (_, *other), (last, *waits) = places
    # Ansible leaves out a task with the tag ``never`` unless another tag of it is given.
    assert (first, one) == (0, ["start", [PLAYED_FIRST["ray_node"], "never"]])
    assert other == ["start", ["ray_node"]]
    assert (last, waits) == (len(play["tasks"][::2]) - 1, ["await", ["ray_node", PLAYED_FIRST["ray_node"]]])


def test_the_site_ends_after_each_role_that_failed_on_the_orchestrator() -> None:
    [play] = read(collection() / "playbooks/site.yml")
    roles, ends = play["tasks"][::2], play["tasks"][1::2]
    assert all("ansible.builtin.import_role" in task for task in roles)
    assert all((task["ansible.builtin.meta"], task["tags"]) == ("end_play", ["always"]) for task in ends)
    assert len(roles) == len(ends) + 1


def test_the_examples_in_the_readmes_are_playbooks(tmp_path: Path) -> None:
    paths = [tmp_path / f"{role.name}.yml" for role in ROLES]
    for path in paths:
        path.write_text(read_example(path.stem))
    argv = [sys.executable, "-m", "ansible", "playbook", "--syntax-check", "-i", "workers,head,gpu_boxes,"]
    env = {**os.environ, "HOME": str(tmp_path), "ANSIBLE_COLLECTIONS_PATH": str(collections_root())}
    done = subprocess.run([*argv, *paths], env=env, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_example_in_a_readme_is_played_by_a_role_test() -> None:
    source = "".join(path.read_text() for path in (collection() / "tests/roles").glob("test_*.py"))
    played = {
        name
        for call in re.findall(r"(?:read|join)_examples?\(([^)]*)\)", source)
        for name in re.findall(r'"(\w+)"', call)
    }
    assert {role.name for role in ROLES} <= played


@each_role
def test_a_role_runs_at_most_two_modules_on_every_host(role: Path) -> None:
    """Each one costs a process on this machine and one on the host; a cold launch plays all roles on all hosts."""
    everywhere = [
        task["name"]
        for task in tasks(role)
        if not task.get("run_once") and not set(task) & {*ON_THE_CONTROLLER, *INCLUDES, "block"}
    ]
    # The files that a role includes under a condition are for hosts that are late or have to be restarted.
    after = [task["name"] for name in CONDITIONAL if (role / "tasks" / name).is_file() for task in tasks(role, name)]
    assert len([name for name in everywhere if name not in after]) <= 2, everywhere


def test_ray_is_started_by_one_module_on_each_host_and_awaited_by_one_on_the_head() -> None:
    role = collection() / "roles/ray_node"
    later = [task for name in CONDITIONAL for task in tasks(role, name)]
    usual = [task for task in tasks(role) if task not in later and "delegate_to" not in task]
    modules = {module: task for task in usual for module in task if module.startswith("flambe.cluster.")}
    assert list(modules) == ["flambe.cluster.ray_node", "flambe.cluster.ray_nodes"]
    assert "__ray_node_waits_for" in modules["flambe.cluster.ray_nodes"]["when"]
    assert all(task.get("when") for task in usual if "ansible.builtin.include_tasks" in task)


def test_a_launch_with_ray_installed_runs_five_modules_on_each_host() -> None:
    """Besides them, four on the orchestrator: the new key, the wait for Ray, and TensorBoard's two."""
    needed = list_needed(make_runtime("ray"), {}, on=Role.FACTORY)
    assert needed == ["idle_shutdown", "cluster_gpu", "cluster_keys", "python_env", "ray_node", "ray_jobs"]
    later = [task for name in CONDITIONAL for task in tasks(collection() / "roles/ray_node", name)]
    modules = [
        module
        for role in needed
        if role
        not in ("cluster_gpu", "python_env")  # there are no GPUs; the receipt of the image proves the environment
        for task in tasks(collection() / "roles" / role)
        if task not in later and not task.get("run_once") and "__ray_node_waits_for" not in str(task.get("when"))
        for module in task
        if module.startswith("flambe.cluster.")
    ]
    assert [module.rpartition(".")[2] for module in modules] == [
        "idle_shutdown", "cluster_key_info", "cluster_keys", "ray_node", "service_unit",
    ]  # fmt: skip
