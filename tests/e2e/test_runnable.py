"""A runnable of one's own on a cluster: set up here, run by this package on the orchestrator.

The tests share one cluster and run in their order.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from flambe_ansible.lab import LabInfo

pytestmark = [pytest.mark.lab, pytest.mark.timeout(900)]

NAME = "e2e_runnable"
SURVEY = Path(__file__).parents[2] / "examples" / "runnable"
KEY = "planted-30%-key"
SITE = "/opt/flambe-ansible/venv/lib/python3.*/site-packages"


class Cluster:
    """One cluster, and the command line on it."""

    def __init__(self, folder: Path, lab: LabInfo) -> None:
        self.folder = folder
        self.file = folder / "cluster.yaml"
        self.file.write_text(f"!LabCluster\nname: {NAME}\nlab: {lab.name}\nfactories_num: 1\n")
        (folder / "secrets.ini").write_text(f"[SURVEY]\nKEY = {KEY}\n")
        self.environment = {**os.environ, "FLAMBE_ANS_STATE": str(folder / "state"), "HOME": str(folder)}

    def call(self, *words: str | Path, code: int | None = 0) -> subprocess.CompletedProcess[str]:
        """Run a command line."""
        with self.start(*words) as process:
            stdout, stderr = process.communicate()
        assert code is None or process.returncode == code, stdout + stderr
        return subprocess.CompletedProcess(process.args, process.returncode, stdout, stderr)

    def start(self, *words: str | Path) -> subprocess.Popen[str]:
        """Start a command line."""
        argv = [Path(sys.executable).with_name("flambe-ans"), *words]
        pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        return subprocess.Popen(argv, cwd=self.folder, env=self.environment, text=True, **pipes)

    def submit(self, file: Path, *more: str, code: int = 0) -> dict[str, Any]:
        """Submit a runnable, wait for its end, and return the document."""
        words = ["--cluster", str(self.file), "--secrets", "secrets.ini", "--yes", "--follow", "--json", *more]
        document: dict[str, Any] = json.loads(self.call("submit", file, *words, code=code).stdout)
        return document

    def run(self, command: str) -> str:
        """Run a command on the orchestrator and return what it printed."""
        document = json.loads(self.call("exec", self.file, "--on", "orchestrator", "--json", "--", command).stdout)
        [result] = document.values()
        assert result["returncode"] == 0, result
        return str(result["stdout"]).strip()


@pytest.fixture(scope="module")
def cluster(lab: LabInfo, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    made = Cluster(tmp_path_factory.mktemp("runnable"), lab)
    yield made
    made.call("down", made.file, "--yes", code=None)


def test_1_it_runs_on_the_orchestrator_with_environment_and_secrets(cluster: Cluster) -> None:
    document = cluster.submit(SURVEY / "survey.yaml")
    assert (document["run"]["state"], document["run"]["name"]) == ("succeeded", "survey.Survey")
    answers = json.loads(cluster.run("cat survey/answers.json"))
    [factory] = json.loads(cluster.call("status", cluster.file, "--json").stdout)["factories"]
    assert list(answers["hosts"]) == [factory["private_ip"]]
    assert answers["hosts"][factory["private_ip"]]["kernel"] == os.uname().release
    assert len(answers["signature"]) == 64  # made with the secret


def test_2_the_package_there_is_the_one_here(cluster: Cluster) -> None:
    here = (SURVEY.parents[1] / "flambe_ansible/runnable/running.py").read_text().strip()
    assert cluster.run(f"cat {SITE}/flambe_ansible/runnable/running.py") == here
    assert cluster.run(f"grep -rl {KEY!r} /home/ubuntu /opt/flambe-ansible /var/lib/flambe-run 2>/dev/null") == (
        "/home/ubuntu/secrets.ini"
    )


def test_3_its_results_and_tensorboard_come_here_and_no_report_site(cluster: Cluster) -> None:
    pulled = json.loads(cluster.call("pull", cluster.file, "here", "--json").stdout)
    assert pulled == {"name": "survey.Survey", "path": "here/survey.Survey", "files": 2, "results": True}
    there = cluster.run("cat survey/answers.json output.log")
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


def test_4_force_reaches_setup_and_an_error_over_there_is_told(cluster: Cluster) -> None:
    file = cluster.folder / "mine.yaml"
    file.write_text(f"survey: {SURVEY}\n---\n!survey.Survey\nquestions: {{trouble: echo no >&2; exit 3}}\n")
    document = cluster.submit(file, "--force", code=11)
    assert document["run"]["state"] == "failed"
    assert "echo no >&2; exit 3: no" in cluster.call("logs", cluster.file).stdout
