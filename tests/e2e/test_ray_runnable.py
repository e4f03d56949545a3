"""A custom runnable on a cluster with ``runtime: ray``: its tasks run on the factories, with its extension.

The tests share the cluster of ``test_ray_runtime`` and run in their order; each leaves it with three live nodes.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.ray_clusters import RayCluster
from tests.e2e.test_ray_jobs import SECRET, submit

pytestmark = [pytest.mark.lab, pytest.mark.timeout(600)]

PROJECT = """
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"

[project]
name = "squares"
version = "1.0"
requires-python = ">=3.11"
dependencies = ["flambe-ansible", "ray", "humanize==4.9.0"]

[tool.hatch.build.targets.wheel]
packages = ["squares"]
"""
CODE = """
import json
import os
import socket
from pathlib import Path

from flambe_ansible import ClusterRunnable


def square(number):
    import humanize

    return humanize.intcomma(number * number), socket.gethostname()


class Squares(ClusterRunnable):
    results = "squares"

    def __init__(self, count, target="", **kwargs):
        super().__init__(**kwargs)
        self.count, self.target = count, target

    def setup(self, cluster, extensions, force, **kwargs):
        cluster.create_dirs([self.results])
        self.set_serializable_attr("target", f"{cluster.get_orch_home_path()}/{self.results}")

    def run(self, force=False, **kwargs):
        import ray

        ray.init(address="auto", logging_level="ERROR")
        task = ray.remote(scheduling_strategy="SPREAD")(square)
        found = ray.get([task.remote(number) for number in range(998, 998 + self.count)])
        facts = {"numbers": [text for text, _ in found], "hosts": sorted({host for _, host in found})}
        facts |= {"force": force, "factories": len(self.env.factories_ips), "key": len(self.config["S"]["KEY"])}
        Path(self.target, "facts.json").write_text(json.dumps(facts))
        print("squares of", self.count, "numbers", flush=True)
        if self.count > 10:
            raise LookupError("too many numbers")
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the runnable, its extension and secrets."""
    made = tmp_path_factory.mktemp("runnable")
    (made / "squares").mkdir()
    (made / "squares/__init__.py").write_text(CODE)
    (made / "pyproject.toml").write_text(PROJECT)
    (made / "squares.yaml").write_text("squares: .\n---\n!squares.Squares\ncount: 8\n")
    (made / "secrets.ini").write_text(f"[S]\nKEY = {SECRET}\n")
    return made


def run(cluster: RayCluster, folder: Path, *options: Any, code: int = 0) -> str:
    file, secrets = folder / "squares.yaml", folder / "secrets.ini"
    return submit(cluster, file, "--secrets", secrets, "--yes", "--follow", *options, code=code)


def test_tasks_run_on_the_factories_with_its_packages(ray_cluster: RayCluster, folder: Path, tmp_path: Path) -> None:
    assert "squares of 8 numbers" in run(ray_cluster, folder)
    job = ray_cluster.document("jobs")["jobs"][0]
    assert (job["name"], job["state"], job["exit_code"]) == ("squares.Squares", "succeeded", 0)
    ray_cluster.call("pull", tmp_path)
    facts = json.loads((tmp_path / job["id"] / "squares/facts.json").read_text())
    assert facts["numbers"][:3] == ["996,004", "998,001", "1,000,000"]
    assert facts["hosts"] == sorted(ray_cluster.on(f"factory {index}", "hostname").strip() for index in (0, 1))
    assert (facts["force"], facts["factories"], facts["key"]) == (False, 2, len(SECRET))
    assert "squares of 8 numbers" in ray_cluster.call("logs", job["id"])
    # The cluster's environment is unchanged.
    assert ray_cluster.on("factory 0", "ls -d /opt/ray/venv/lib/*/site-packages/humanize; :") == ""
    assert set(ray_cluster.launch()["changed"].values()) == {0}


def test_a_failure_is_reported_and_an_experiment_refused(ray_cluster: RayCluster, folder: Path) -> None:
    (folder / "squares.yaml").write_text("squares: .\n---\n!squares.Squares {count: 11}\n")
    output = run(ray_cluster, folder, "--force", code=11)
    assert "too many numbers" in output
    job = ray_cluster.document("jobs")["jobs"][0]
    assert job["state"] == "failed"
    assert "LookupError: too many numbers" in job["reason"]
    experiment = Path(__file__).parents[2] / "examples" / "experiment.yaml"
    refused = submit(ray_cluster, experiment, code=3)
    assert "has runtime ray, which cannot run experiments of flamb" in refused
