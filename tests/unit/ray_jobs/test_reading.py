"""The output of jobs: its last lines, and following it."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from tests.unit.ray_jobs.conftest import Submit, wait


@pytest.mark.parametrize(
    ("text", "count", "expected"),
    [
        ("", 3, ([], 0)),
        ("a\nb\nc\n", 2, (["b", "c"], 2)),
        ("a\nb\nc", 2, (["b", "c"], 2)),
        ("a\nb\n", 5, (["a", "b"], 0)),
        ("x" * 70_000 + "\n" + "y" * 70_000 + "\nend\n", 2, (["y" * 70_000, "end"], 70_001)),
    ],
)
def test_the_last_lines(tmp_path: Path, text: str, count: int, expected: tuple[list[str], int]) -> None:
    from flambe_ray_jobs.reading import read_last

    path = tmp_path / "log"
    path.write_text(text)
    assert read_last(str(path), count) == expected


def test_the_last_lines_of_a_large_log_are_read_quickly(tmp_path: Path) -> None:
    from flambe_ray_jobs.reading import read_last

    path = tmp_path / "log"
    with path.open("wb") as file:
        file.truncate(2 * 1024**3)  # sparse
        file.seek(0, 2)
        file.write(b"\nlast\n")
    started = time.monotonic()
    assert read_last(str(path), 1)[0] == ["last"]
    assert time.monotonic() - started < 1


def test_following_ends_with_the_job_and_prints_its_bytes_unchanged(settings: Any, submit: Submit) -> None:
    program = "import sys, time\nfor i in range(4):\n    sys.stdout.buffer.write(b'\\xff%d\\r' % i); sys.stdout.flush()"
    job = submit(f"{program}\n    time.sleep(0.3)\n")
    done = subprocess.run([settings.program, "logs", job, "--follow"], capture_output=True, check=False, timeout=30)
    assert (done.returncode, done.stdout) == (0, b"\xff0\r\xff1\r\xff2\r\xff3\r")


def test_following_ends_if_the_reader_is_gone(settings: Any, submit: Submit) -> None:
    job = submit("import time\ntime.sleep(60)")
    wait(settings, job, active=True)
    argv = [settings.program, "logs", job, "--follow"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE) as process:
        assert process.stdout
        process.stdout.close()
        assert process.wait(timeout=20) == 0
