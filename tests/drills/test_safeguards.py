"""Without a safeguard a test fails: each one is removed in turn, by one replaced function."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.drills.removals import REMOVALS

ROOT = Path(__file__).parents[2]
TESTS = {
    "token persistence": "drills/test_kills.py::test_the_host_of_a_request_without_an_answer_is_not_created_again",
    "tags on creation": "drills/test_kills.py::test_down_removes_what_was_killed[1-SIGKILL during call 6]",
    "reservation": "unit/fleet/test_reservation.py::test_another_process_is_refused_until_it_is_released",
    "lock": "drills/test_doubles.py::test_two_launches_at_once_create_one_cluster[one-machine-0]",
    "not-found grace": "drills/test_faults.py::test_hosts_that_are_shown_late_are_waited_for",
    "host key check": "unit/ssh/test_options.py",
    "alarm order": "drills/test_kills.py::test_a_relaunch_that_is_killed_leaves_no_host_without_an_alarm[1]",
}


def test_each_safeguard_has_a_test() -> None:
    assert REMOVALS.keys() == TESTS.keys()


@pytest.mark.parametrize(
    "safeguard",
    [
        "alarm order",
        "host key check",
        *(pytest.param(one, marks=pytest.mark.long) for one in TESTS if one[0] not in "ah"),
    ],
)
def test_without_it_a_test_fails(safeguard: str) -> None:
    argv = ["pytest", "-q", "-n0", "-m", "", "-p", "no:cacheprovider", "-p", "tests.drills.removals"]
    environment = {**os.environ, "FLAMBE_ANS_WITHOUT": safeguard}
    for name in ("PYTEST_XDIST_WORKER", "PYTEST_CURRENT_TEST"):
        environment.pop(name, None)
    done = subprocess.run(
        [sys.executable, "-m", *argv, f"tests/{TESTS[safeguard]}"],
        cwd=ROOT, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1 and " failed" in done.stdout, done.stdout[-2000:] + done.stderr[-500:]
