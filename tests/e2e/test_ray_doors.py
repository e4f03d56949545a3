"""Secrets of jobs and Ray's token are found nowhere but in the files that are meant for them.

The test shares the cluster of ``test_ray_runtime``, and leaves it as it is.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from flambe_ansible.lab import LabInfo
from tests.e2e.canaries import Canaries, Watch, search_hosts
from tests.e2e.ray_clusters import TOKEN, RayCluster
from tests.e2e.test_ray_jobs import submit, wait

pytestmark = [pytest.mark.lab, pytest.mark.long, pytest.mark.timeout(900)]

VARIABLES = {"good": "GOOD_SECRET", "bad": "BAD_SECRET"}  # a job that succeeds, and one that fails
RAY_TOKEN = "token of Ray"
WORK = """
import os, sys, time, ray
ray.init(logging_level="ERROR")

@ray.remote(scheduling_strategy="SPREAD")
def measure(name):
    time.sleep(2)
    return len(os.environ[name])

print(ray.get([measure.remote(sys.argv[1]) for _ in range(4)]), flush=True)
sys.exit(int(sys.argv[2]))
"""
# The environment of jobs that run, and the token.
GIVEN = {r"/home/ubuntu/\.flambe/.+/env\.json": VARIABLES, rf"/home/ubuntu/{TOKEN}": [RAY_TOKEN]}


def test_secrets_of_jobs_and_the_token_stay_in_their_places(
    ray_cluster: RayCluster, lab: LabInfo, tmp_path: Path
) -> None:
    canaries = Canaries(VARIABLES)
    canaries.add(RAY_TOKEN, ray_cluster.on("orchestrator", f"cat ~/{TOKEN}").strip())
    variables = {variable: canaries[name] for name, variable in VARIABLES.items()}
    work = tmp_path / "work"
    work.mkdir()
    (work / "measure.py").write_text(WORK)
    printed: list[str] = []
    with Watch(canaries, lab.name) as watch:
        for name, code in (("good", "0"), ("bad", "3")):
            options = ["--workdir", work, "--env", VARIABLES[name], "--name", name, "--debug", "--"]
            printed.append(submit(ray_cluster, *options, "python", "measure.py", VARIABLES[name], code, env=variables))
            wait(ray_cluster, name, "succeeded" if code == "0" else "failed")
            printed.append(ray_cluster.call("logs", name))
        for line in ("launch --yes --full --debug", "status --json", "jobs --json", "doctor"):
            words = line.split()
            printed.append(ray_cluster.call(words[0], *words[1:], code=None))
        printed.append(ray_cluster.call("pull", tmp_path / "pulled", "--name", "bad"))
        headers = f"(printf 'Authorization: Bearer '; cat ~/{TOKEN}) | curl -s -H @- http://127.0.0.1:8265/api/jobs/"
        printed.append(ray_cluster.on("orchestrator", headers))
    assert '"entrypoint"' in printed[-1]
    assert "[27, 27, 27, 27]" in printed[1]  # the variable arrived on the hosts
    assert [name for text in printed for name in canaries.find(text)] == []
    assert {str(path) for path, _ in canaries.search(ray_cluster.folder)} <= {str(ray_cluster.folder / "token")}
    assert search_hosts(canaries, lab, GIVEN) == set()
    assert watch.arguments == set()
    assert {(user, name) for user, _, name in watch.environments} <= {(1000, name) for name in VARIABLES}
