"""``--wait``: its value, and the commands that have it."""

from __future__ import annotations

import math
import threading
from pathlib import Path
from typing import Any

import pytest

from flambe_ansible.cli import options
from flambe_ansible.errors import ClusterBusyError
from flambe_ansible.events import Notice
from flambe_ansible.fleet import reservation
from flambe_ansible.launch import lock
from tests.unit.cli.conftest import Run
from tests.unit.cli.made_up import FakeCluster


@pytest.mark.parametrize(
    ("given", "read"),
    [
        (["--wait", "c.yaml"], ["--wait=without limit", "c.yaml"]),
        (["c.yaml", "--wait"], ["c.yaml", "--wait=without limit"]),
        (["c.yaml", "--wait", "--yes"], ["c.yaml", "--wait=without limit", "--yes"]),
        (["c.yaml", "--wait", "30m"], ["c.yaml", "--wait", "30m"]),
        (["--wait=2h", "c.yaml"], ["--wait=2h", "c.yaml"]),
        (["--lab", "--orphans"], ["--lab=default", "--orphans"]),
        (["--lab", "blue"], ["--lab", "blue"]),
    ],
)
def test_the_value_may_be_left_out(given: list[str], read: list[str]) -> None:
    assert list(options._complete_values(given)) == read


@pytest.mark.parametrize(
    ("arguments", "seconds"),
    [([], 0.0), (["--wait"], math.inf), (["--wait", "30m"], 1800.0), (["--wait=1.5h"], 5400.0)],
)
@pytest.mark.parametrize("command", ["launch", "down"])
def test_the_cluster_gets_the_limit(
    cluster: FakeCluster, run: Run, command: str, arguments: list[str], seconds: float
) -> None:
    assert run(command, *arguments, "c.yaml", "--yes").code == 0
    assert cluster.wait_limit == seconds  # type: ignore[attr-defined]


def test_a_wrong_limit(run: Run) -> None:
    done = run("launch", "c.yaml", "--wait=soon")
    assert (done.code, "--wait is 'soon'; expected a number with m, h or d" in done.stderr) == (2, True)


def test_a_command_as_a_job_does_not_reserve_the_cluster(run: Run) -> None:
    done = run("submit", "--cluster", "c.yaml", "--wait", "--", "true")
    assert (done.code, "--wait needs FILE" in done.stderr) == (2, True)


def test_a_launch_on_this_machine_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may have no orchestrator yet."""
    monkeypatch.setattr(reservation, "POLL_SECONDS", 0.02)
    notices: list[Any] = []
    entered, leave = threading.Event(), threading.Event()

    def launch() -> None:
        with lock.hold(tmp_path):
            entered.set()
            leave.wait(10)

    thread = threading.Thread(target=launch)
    thread.start()
    entered.wait(10)
    with pytest.raises(ClusterBusyError, match="another launch or termination of this cluster is running"):
        lock.check(tmp_path)
    threading.Timer(0.3, leave.set).start()
    reservation.Waiting(limit=10, observer=notices.append).repeat(lambda: lock.check(tmp_path))
    thread.join(10)
    assert [type(one) for one in notices] == [Notice]
