"""``flambe-ans doctor``."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from flambe_ansible.cli.commands.doctor import _has_key
from flambe_ansible.cli.render.doctor import render_finding
from flambe_ansible.cluster import AWSCluster
from flambe_ansible.doctor import account, local
from flambe_ansible.errors import ClusterConfigurationError, Problem
from flambe_ansible.findings import Finding, make_problem
from tests.unit.cli.conftest import Run
from tests.unit.cli.made_up import FakeCluster

SSH = Finding(check="ssh", fact="OpenSSH_9.2p1")
CLOCK = Finding(check="clock", fact="x", notes=("this machine's clock is 90 s behind AWS's",), remedy="set the clock")
QUOTA = Finding(
    check="vCPU quota",
    problems=(make_problem("factories_type", "quota L-DB2E81BA is 0 vCPUs", expected="a higher quota: aws x"),),
)
REGION = Finding(check="region", problems=(make_problem("", "eu-x is not enabled"),), exit_code=4)
KEY = Finding(check="private key", fact="/home/me/key.pem")


@pytest.fixture
def found(cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch) -> list[Finding]:
    """Return the list of what the cluster's checks find; the tests fill it."""
    findings: list[Finding] = []
    monkeypatch.setattr(cluster, "diagnose", lambda: findings, raising=False)
    monkeypatch.setattr(local, "examine_tools", lambda: [SSH])
    monkeypatch.setattr(local, "examine_key", lambda _path: KEY)
    return findings


def test_every_check_has_a_line_and_its_remedy(found: list[Finding], run: Run) -> None:
    found += [CLOCK, QUOTA]
    done = run("doctor", "demo.yaml")
    assert done.stdout.splitlines() == [
        "ok      ssh: OpenSSH_9.2p1",
        "ok      private key: /home/me/key.pem",
        "note    clock: this machine's clock is 90 s behind AWS's",
        "        remedy: set the clock",
        "failed  vCPU quota: quota L-DB2E81BA is 0 vCPUs",
        "        expected: a higher quota: aws x",
        "1 problem: a launch would fail",
    ]
    assert done.code == 3


def test_a_key_pair_that_a_launch_creates_is_no_problem(tmp_path: Path) -> None:
    arguments = {"name": "demo", "factories_num": 1, "factories_type": "t3.small", "orchestrator_type": "t3.small"}
    cluster = AWSCluster(**arguments, creator="ada", region_name="us-east-1")  # type: ignore[arg-type]
    assert not _has_key(cluster)
    assert _has_key(AWSCluster(**arguments, creator="ada", key_name="work", key="/nowhere"))  # type: ignore[arg-type]


def test_the_exit_code_is_that_of_the_first_problem(found: list[Finding], run: Run) -> None:
    found += [CLOCK]
    assert run("doctor", "demo.yaml").code == 0
    found += [REGION, QUOTA]
    assert run("doctor", "demo.yaml").code == 4


def test_the_document(found: list[Finding], run: Run) -> None:
    found += [CLOCK, QUOTA]
    done = run("doctor", "demo.yaml", "--json")
    document = json.loads(done.stdout)
    assert (document["schema"], document["ok"], done.code) == (1, False, 3)
    assert document["checks"][-1] == {
        "level": "failed",
        "check": "vCPU quota",
        "message": "quota L-DB2E81BA is 0 vCPUs",
        "remedy": "a higher quota: aws x",
        "field": "factories_type",
    }
    assert [one["level"] for one in document["checks"]] == ["ok", "ok", "note", "failed"]
    assert "ok      ssh: OpenSSH_9.2p1" in done.stderr


def test_a_file_with_problems_is_examined_as_far_as_possible(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def load(file: str) -> Any:
        problem = Problem(file=file, line=3, column=6, message="key is 1", expected="a path", suggestion="k.pem")
        raise ClusterConfigurationError.of([problem])

    monkeypatch.setattr("flambe_ansible.cluster.loading.load_cluster", load)
    monkeypatch.setattr(local, "examine_tools", lambda: [SSH])
    done = run("doctor", "demo.yaml")
    assert done.code == 3
    assert done.stdout.splitlines()[1:] == [
        "failed  configuration: demo.yaml:3:6: key is 1",
        "        remedy: a path; did you mean k.pem?",
        "1 problem: a launch would fail",
    ]


@pytest.mark.parametrize(
    ("findings", "quotas"),
    [
        ([Finding(check="credentials", notes=("none",))], 0),
        ([Finding(check="credentials", fact="env"), Finding(check="region", fact="eu is enabled")], 1),
        ([Finding(check="credentials", fact="env"), REGION], 0),
    ],
)
def test_without_a_cluster_the_account_is_examined(
    run: Run, monkeypatch: pytest.MonkeyPatch, findings: list[Finding], quotas: int
) -> None:
    monkeypatch.setattr(local, "examine_tools", lambda: [SSH])
    monkeypatch.setattr(account, "examine_account", lambda _clients, *, required: [] if required else findings)
    monkeypatch.setattr(account, "examine_quotas", lambda _clients: [Finding(check="vCPU quota", fact="5")])
    done = run("doctor")
    assert done.stdout.count("vCPU quota: 5") == quotas


@pytest.mark.parametrize("width", [80, 120])
def test_lines_are_wrapped_below_their_text(width: int) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    console = Console(file=Terminal(), width=width, force_terminal=True, color_system=None)
    long = Finding(check="subnet", notes=("word " * 60,), remedy="do " * 60)
    lines = [line.plain for line in render_finding(console, long)]
    assert max(map(len, lines)) <= width
    assert lines[0].startswith("note    subnet: word")
    assert all(line.startswith("        ") for line in lines[1:])
    assert [line[8:16] for line in lines].count("remedy: ") == 1
