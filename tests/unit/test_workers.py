"""The workers of pytest-xdist: tests that share a cluster run on one worker, in order."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests import conftest

WRITE = """
import os, pathlib, pytest
@pytest.mark.parametrize("number", range(6))
def test_number(number):
    with open({log!r}, "a") as log:
        print(os.environ["PYTEST_XDIST_WORKER"], pathlib.Path(__file__).stem, number, file=log)
"""


def test_groups() -> None:
    files = ("roles/test_site", "roles/test_site_submit", "e2e/test_submit", "e2e/test_launch", "e2e/test_lab")
    groups = [conftest.name_group(f"tests/{file}.py::test_a[x::y]") for file in files]
    assert groups == ["roles", "roles", "image", "image", "test_lab"]
    assert conftest.name_group("tests/unit/lab/test_a.py::test_b") == "tests/unit/lab/test_a.py::test_b"


@pytest.mark.parametrize("workers", [2, 3])
def test_a_group_runs_on_one_worker_in_its_order(tmp_path: Path, workers: int) -> None:
    """The third worker runs tests without labs."""
    shutil.copy(conftest.__file__, tmp_path / "conftest.py")
    log = tmp_path / "log"
    for name in ("roles/test_a", "roles/test_b", "e2e/test_c", "unit/test_d"):
        file = tmp_path / f"{name}.py"
        file.parent.mkdir(exist_ok=True)
        file.write_text(WRITE.format(log=str(log)))
    argv = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", f"--numprocesses={workers}", "--rootdir=.", "."]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    subprocess.run(argv, cwd=tmp_path, env=environment, check=True, stdout=subprocess.DEVNULL)
    ran = [line.split(maxsplit=1) for line in log.read_text().splitlines()]
    assert len(ran) == 24
    for group in (("test_a", "test_b"), ("test_c",)):
        own = [(worker, test) for worker, test in ran if test.startswith(group)]
        assert len({worker for worker, _ in own}) == 1
        assert [test for _, test in own] == [f"{name} {number}" for name in group for number in range(6)]
    third = {test.split()[0] for worker, test in ran if worker == "gw2"}
    assert third == ({"test_d"} if workers == 3 else set())
