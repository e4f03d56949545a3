"""A custom runnable on a cluster: set up locally, run by this package on the orchestrator.

The tests use the cluster of test_submit.py, and run in their order.
"""

from __future__ import annotations

import json
import os
import signal
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import flambe_style
from tests.e2e.experiments import SURVEY_KEY, Cluster

pytestmark = [pytest.mark.lab, pytest.mark.timeout(900)]

SURVEY = Path(__file__).parents[2] / "examples" / "runnable"
SITE = "/opt/flambe-ansible/venv/lib/python3.*/site-packages"


@pytest.fixture(scope="module")
def cluster(experiments: Cluster) -> Iterator[Cluster]:
    yield experiments
    experiments.end()  # the last tests that use it


def test_1_it_runs_on_the_orchestrator_with_environment_and_secrets(cluster: Cluster) -> None:
    document = cluster.submit(SURVEY / "survey.yaml", "--follow")
    assert (document["run"]["state"], document["run"]["name"]) == ("succeeded", "survey.Survey")
    answers = json.loads(cluster.on("cat survey/answers.json"))
    assert list(answers["hosts"]) == [factory["private_ip"] for factory in cluster.status()["factories"]]
    assert {answer["kernel"] for answer in answers["hosts"].values()} == {os.uname().release}
    assert len(answers["signature"]) == 64  # made with the secret


def test_2_the_installed_package_is_the_local_one(cluster: Cluster) -> None:
    here = (SURVEY.parents[1] / "flambe_ansible/runnable/running.py").read_text().strip()
    assert cluster.on(f"cat {SITE}/flambe_ansible/runnable/running.py").strip() == here
    search = f"grep -rl {SURVEY_KEY!r} /home/ubuntu /opt/flambe-ansible /var/lib/flambe-run 2>/dev/null; :"
    assert cluster.on(search).split() == ["/home/ubuntu/secrets.ini"]


def test_3_results_and_tensorboard_are_available_and_no_report_site(cluster: Cluster) -> None:
    pulled = json.loads(cluster.call("pull", cluster.file, "here", "--json"))
    assert pulled == {"name": "survey.Survey", "path": "here/survey.Survey", "files": 2, "results": True}
    there = cluster.on("cat survey/answers.json output.log").strip()
    names = ("answers.json", "output.log")
    assert "".join((cluster.folder / pulled["path"] / name).read_text() for name in names).strip() == there
    with cluster.start("open", cluster.file, "--json") as process:
        try:
            assert process.stdout is not None
            sites = json.loads("".join(iter(process.stdout.readline, "}\n")) + "}")
            assert sites["report_site"] is None
            with urllib.request.urlopen(f"{sites['tensorboard']}data/environment", timeout=60) as answer:
                assert json.load(answer)["data_location"] == "/home/ubuntu/survey"
            process.send_signal(signal.SIGINT)
            assert process.wait(30) == 0
        finally:
            process.kill()


def test_4_force_is_passed_to_setup_and_a_remote_error_is_reported(cluster: Cluster) -> None:
    file = cluster.folder / "mine.yaml"
    file.write_text(f"survey: {SURVEY}\n---\n!survey.Survey\nquestions: {{trouble: echo no >&2; exit 3}}\n")
    document = cluster.submit(file, "--follow", "--force", code=11)
    assert document["run"]["state"] == "failed"
    assert "echo no >&2; exit 3: no" in cluster.call("logs", cluster.file)


def test_5_a_runnable_written_for_flambe_runs_with_other_imports(cluster: Cluster, tmp_path: Path) -> None:
    """Its setup calls flambé's methods of single hosts: it prepares them, sends files, starts nodes and sites."""
    document = cluster.submit(flambe_style.write(tmp_path), "--follow", "--force")
    assert (document["run"]["state"], document["run"]["name"]) == ("succeeded", "flambe_style.Count")
    factories = [factory["private_ip"] for factory in cluster.status()["factories"]]
    total = json.loads(cluster.on("cat sum/total.json"))
    assert total == {"total": 6, "workers": sorted(factories), "factories": factories}
    assert cluster.on("ls -A sum").split() == ["numbers.txt", "output__sum", "total.json"]
    sites = "for port in 49556 49558; do curl -s -o /dev/null -w '%{http_code} ' http://127.0.0.1:$port/; done"
    assert cluster.on(sites).split() == ["200", "200"]
