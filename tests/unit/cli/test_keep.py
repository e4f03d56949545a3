"""``flambe-ans keep``: durations, its output, its errors."""

from __future__ import annotations

import json

import pytest

from flambe_ansible.errors import ClusterConfigurationError
from tests.unit.cli.conftest import Run
from tests.unit.cli.made_up import HOSTS, FakeCluster


@pytest.mark.parametrize(
    ("text", "seconds"), [("30m", 1800), ("2h", 7200), ("1d", 86_400), ("1.5h", 5400), ("0m", 0), ("7d", 604_800)]
)
def test_durations(run: Run, cluster: FakeCluster, text: str, seconds: float) -> None:
    done = run("keep", "cluster.yaml", text)
    assert (done.code, ("keep", seconds) in cluster.calls) == (0, True)
    assert [line.split("  ")[0] for line in done.stdout.splitlines()] == ["orchestrator", "factory 0", "factory 1"]


def test_the_document_has_each_host(run: Run, cluster: FakeCluster) -> None:
    document = json.loads(run("keep", "cluster.yaml", "2h", "--json").stdout)
    assert list(document) == [host.name for host in HOSTS]
    assert document[cluster.hosts[0].name]["ends"] == "2026-11-30T12:00:00Z"


@pytest.mark.parametrize("text", ["2", "h", "2 weeks", "2H", "8d", "1e3h", "\u0662h", "0.001m", "9999999999h", ""])
def test_other_durations_are_refused_in_one_line(run: Run, text: str) -> None:
    done = run("keep", "cluster.yaml", text)
    assert (done.code, done.stdout) == (2, "")
    assert f"DURATION is {text!r}; expected a number with m, h or d" in " ".join(done.stderr.split())


def test_a_negative_duration_is_refused(run: Run) -> None:
    assert run("keep", "cluster.yaml", "--", "-2h").code == 2


def test_a_cluster_without_automatic_shutdown(run: Run, cluster: FakeCluster) -> None:
    cluster.failure = ClusterConfigurationError("cluster demo has no automatic shutdown: its timeouts are -1")
    done = run("keep", "cluster.yaml", "2h")
    assert (done.code, done.stdout) == (3, "")
    assert "error: cluster demo has no automatic shutdown" in done.stderr
