"""The runtime of current Ray."""

from __future__ import annotations

import importlib.metadata
from pathlib import Path
from typing import Any

import pytest

from flambe_ansible.errors import ClusterConfigurationError
from flambe_ansible.events import ignore
from flambe_ansible.fleet import holding
from flambe_ansible.fleet.receipts import read_defaults
from flambe_ansible.runtimes import NodeOptions, make_runtime, ray, ray_versions
from flambe_ansible.runtimes.ray_versions import LocalRay


@pytest.fixture(autouse=True)
def _no_local_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_versions, "find_local", lambda: None)


def resolve(**options: Any) -> Any:
    return make_runtime(options).resolve(observer=ignore)


def test_the_constants_are_those_of_the_roles() -> None:
    env, node = read_defaults("python_env"), read_defaults("ray_node")
    assert env["python_env_root"] == ray.ROOT
    assert (node["ray_node_unit"], node["ray_node_dashboard_port"]) == (ray.RAY_UNIT, ray.DASHBOARD_PORT)
    assert node["ray_node_client_port"] == ray.CLIENT_PORT
    jobs = read_defaults("ray_jobs")
    assert (jobs["ray_jobs_root"], jobs["ray_jobs_runtime"]) == (ray.ROOT, ray.VENV)
    assert (f"{jobs['ray_jobs_root']}/bin/ray-jobs", jobs["ray_jobs_ray_unit"]) == (ray.JOBS_COMMAND, ray.RAY_UNIT)
    assert (jobs["ray_jobs_dashboard"], jobs["ray_jobs_token"]) == (ray.DASHBOARD_URL, f"~/{ray.TOKEN_FILE}")
    assert jobs["ray_jobs_boards"] == f"~/{ray.BOARDS}"
    assert any(jobs["ray_jobs_reservation"] == f"{folder}/{holding.FILE}" for folder in holding.FOLDERS)
    assert env["python_env_python_accepted"] == ray_versions.list_pythons(ray_versions.TESTED)


def test_the_newest_tested_release_without_options() -> None:
    version = make_runtime("ray").resolve(observer=ignore)
    assert version.version == ray_versions.TESTED
    assert version.origin.startswith("the newest release that was tested")
    assert (version.python, version.requirements.lines) == (
        "the hosts' own Python",
        (f"ray[default]=={version.version}",),
    )


def test_the_release_is_configured_pinned_or_local(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    local = LocalRay(version="2.58.0", python="3.11.2", origin="installed in this environment")
    monkeypatch.setattr(ray_versions, "find_local", lambda: local)
    assert (resolve().version, resolve().origin) == ("2.58.0", "installed in this environment")
    (tmp_path / "r.txt").write_text("ray[tune]==2.57.0\nsix\n")
    pinned = resolve(requirements=str(tmp_path / "r.txt"))
    assert (pinned.version, pinned.origin) == ("2.57.0", "as in the requirements")
    assert pinned.requirements.lines == ("ray[default]==2.57.0", "ray[tune]==2.57.0", "six")
    configured = resolve(ray="2.56.0", python="3.12")
    assert (configured.version, configured.origin) == ("2.56.0", "as configured")
    assert configured.python == "Python 3.12"
    [warning] = configured.warnings
    assert warning.startswith(
        "Ray 2.58.0 on Python 3.11.2 is installed in this environment, the cluster has Ray 2.56.0 on Python 3.12: "
    )
    assert resolve(ray="2.58.0", python="3.11").warnings == resolve(ray="2.58.0").warnings == ()
    [warning] = resolve(ray="2.58.0", python="3.12").warnings
    assert "the cluster has Ray 2.58.0 on Python 3.12: " in warning


def test_a_newer_release_is_a_warning() -> None:
    [warning] = resolve(ray="99.0.0", python="3.20").warnings
    assert warning.startswith("Ray 99.0.0 is newer than")


@pytest.mark.parametrize(
    ("options", "field", "message"),
    [
        (
            {"ray": "2.30.0", "python": "3.12"},
            "runtime.python",
            "Ray 2.30.0 has no wheels for it; expected 3.9 to 3.11",
        ),
        ({"python": "3.9"}, "runtime.python", "runtime.python is 3.9, and Ray"),
        ({"ray": "1.13.0"}, "runtime.ray", "runtime.ray is 1.13.0; expected 2.10.0 or later"),
    ],
)
def test_versions_that_do_not_go_together(options: dict[str, str], field: str, message: str) -> None:
    with pytest.raises(ClusterConfigurationError) as caught:
        make_runtime(options).check()
    assert message in caught.value.message
    assert caught.value.problems[0].field == field


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"packages": ["ray==1.13.0"]}, "runtime.packages pins Ray to 1.13.0; expected 2.10.0 or later"),
        (
            {"packages": ["ray==2.30.0"], "python": "3.14"},
            "runtime.python is 3.14, and Ray 2.30.0 has no wheels for it",
        ),
    ],
)
def test_a_pinned_release_that_cannot_be_installed(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ClusterConfigurationError) as caught:
        resolve(**options)
    assert message in caught.value.message


def test_variables() -> None:
    nodes = NodeOptions(factories_resources={"accelerator": 1})
    runtime = make_runtime({"ray": "2.60.0", "packages": ["torch"], "temp_dir": "/var/ray"}, nodes=nodes)
    variables = runtime.variables(runtime.resolve(observer=ignore))
    assert variables["python_env_requirements"] == ["ray[default]==2.60.0", "torch"]
    assert variables["cluster_factories_resources"] == {"accelerator": 1}
    assert (variables["ray_node_runtime"], variables["ray_node_temp_dir"]) == (ray.VENV, "/var/ray")
    prepared = make_runtime({"venv": "/opt/env", "ray": "2.60.0"})
    variables = prepared.variables(prepared.resolve(observer=ignore))
    assert (variables["python_env_venv"], variables["ray_node_runtime"]) == ("/opt/env", "/opt/env")
    assert variables["python_env_expected"] == {"ray": "2.60.0"}
    assert variables["python_env_requirements"] == []


def test_ray_in_this_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    found = {"ray": "2.59.0"}
    monkeypatch.setattr(importlib.metadata, "version", found.__getitem__)
    local = ray_versions.find_local()
    assert local is not None
    assert (local.version, local.origin) == ("2.59.0", "installed in this environment")
    found["ray"] = "3.0.0.dev0"
    assert ray_versions.find_local() is None


def test_ray_on_the_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    python = tmp_path / "python3"
    python.write_text("#!/bin/sh\necho 2.58.0 3.12.1\n")
    (tmp_path / "ray").write_text(f"#!{python}\n")
    for path in (python, tmp_path / "ray"):
        path.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    local = ray_versions.find_local()
    assert local is not None
    assert (local.version, local.python) == ("2.58.0", "3.12.1")


@pytest.mark.parametrize(
    ("version", "first", "last", "chosen"),
    [("2.60.0", "3.10", "3.14", "3.12"), ("2.52.1", "3.10", "3.13", "3.12"), ("2.12.0", "3.9", "3.11", "3.11")],
)
def test_pythons_of_a_release(version: str, first: str, last: str, chosen: str) -> None:
    found = ray_versions.list_pythons(version)
    assert (found[0], found[-1], ray_versions.choose_python(version)) == (first, last, chosen)
