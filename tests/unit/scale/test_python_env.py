"""What role python_env reads of other hosts, with the role's own templates."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.scale.templates import HostVars, make_templar, read, trust

ROLE = "python_env"
KIND = "x86_64-cpu"


def make(hosts: int, **changes: Any) -> tuple[Any, HostVars]:
    """Return the templates of the last host, and the variables of all hosts, after the environment is installed."""
    names = [f"node-{index}" for index in range(hosts)]
    info = {
        "version": "3.11.2", "path": "/usr/bin/python3", "kind": KIND, "machine": "x86_64", "missing": [],
        "packages": {"ray": "2.60.0"},
    }  # fmt: skip
    own = {"__python_env_info": info, "python_env_info": {"python_version": "3.11.2"}}
    hostvars = HostVars({one: {"inventory_hostname": one, **own} for one in names})
    variables = {
        "inventory_hostname": names[-1],
        "ansible_play_hosts": names,
        "hostvars": hostvars,
        "python_env_hosts": names,
        "python_env_source": names[0],
        "python_env_expected": {"ray": ""},
        "__python_env_lock": {"locks": {KIND: ["ray==2.60.0"]}, "python_version": "", "machine": "x86_64"},
        **own,
        **changes,
    }
    return make_templar(ROLE, **variables), hostvars


def find_install() -> dict[str, Any]:
    block = next(task["block"] for task in read(ROLE, "tasks/main.yml") if "block" in task)
    [task] = [one for one in block if one["name"] == "Install the packages"]
    return dict(task["flambe.cluster.python_runtime"])


@pytest.mark.parametrize("hosts", [4, 256])
def test_the_installation_reads_no_other_host(hosts: int) -> None:
    templar, hostvars = make(hosts)
    arguments = templar.template(trust(find_install()))
    assert (arguments["python"], arguments["python_version"]) == ("/usr/bin/python3", "3.11.2")
    assert (arguments["requirements"], arguments["resolved"]) == (["ray==2.60.0"], True)
    assert arguments["copies_source"] == "node-0"
    assert hostvars.reads == 0


def test_a_build_is_installed_in_the_version_that_was_resolved() -> None:
    lock = {"locks": {}, "python_version": "3.12.16", "machine": "aarch64"}
    templar, _ = make(2, __python_env_lock=lock)
    arguments = templar.template(trust(find_install()))
    assert (arguments["python"], arguments["python_version"]) == ("managed", "3.12.16")
    assert arguments["copies_source"] == ""  # its uv is for another machine


@pytest.mark.parametrize("hosts", [4, 256])
def test_the_check_reads_one_other_host(hosts: int) -> None:
    templar, hostvars = make(hosts)
    assert templar.template(trust("{{ __python_env_problem }}")) == ""
    assert hostvars.reads == 1


def test_another_version_than_that_of_the_source_is_a_problem() -> None:
    templar, _ = make(3, python_env_info={"python_version": "3.10.1"})
    found = templar.template(trust("{{ __python_env_problem }}"))
    assert found == "Python 3.10.1 on node-2, 3.11.2 on node-0: all hosts need the same version"


def test_own_environments_are_compared_by_the_python_of_the_hosts() -> None:
    info = {"version": "3.10.1", "packages": {"ray": "2.59.0"}}
    templar, _ = make(3, python_env_venv="/srv/venv", __python_env_info=info)
    found = templar.template(trust("{{ __python_env_problem }}"))
    assert found == (
        "Python 3.10.1 on node-2, 3.11.2 on node-0: all hosts need the same version; "
        "ray 2.59.0 in /srv/venv on node-2, expected 2.60.0"
    )
