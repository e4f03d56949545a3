"""``flambe-ans run`` with custom runnables."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
EXAMPLE = ROOT / "examples" / "runnable"


def call(folder: Path, *argv: str, code: int = 0) -> tuple[str, str]:
    """Run the command in a folder, in a subprocess: an extension is imported only once per process."""
    done = subprocess.run(
        [Path(sys.executable).with_name("flambe-ans"), "run", *argv],
        cwd=folder,
        env={**os.environ, "HOME": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout, done.stderr


def test_the_example_runs_locally(tmp_path: Path) -> None:
    (tmp_path / "secrets.ini").write_text("[SURVEY]\nKEY = 100%\n")
    printed, _ = call(tmp_path, str(EXAMPLE / "survey.yaml"), "--secrets", "secrets.ini")
    document = json.loads((tmp_path / "answers.json").read_text())
    assert document["hosts"]["here"]["kernel"] == os.uname().release
    assert len(document["signature"]) == 64
    assert printed.startswith("here  kernel=")


@pytest.mark.parametrize(
    ("text", "code", "message"),
    [
        ("!survey.Survey\nquestions: {trouble: 'echo no; exit 3'}", 11, "error: here: echo no; exit 3: exit code 3"),
        ("!survey.Survey\nquestions: {}", 3, "a survey needs questions"),
        ("!survey.Survey\nquestions: {a: pwd}\nquestion: 1", 3, "Survey does not take question"),
        ("!survey.Survey\nquestions: {a: pwd}\nanswers: /no/such/folder", 11, "!survey.Survey.run raised FileNotFound"),
    ],
)
def test_errors_have_a_line_and_an_exit_code(tmp_path: Path, text: str, code: int, message: str) -> None:
    (tmp_path / "mine.yaml").write_text(f"survey: {EXAMPLE}\n---\n{text}\n")
    _, errors = call(tmp_path, "mine.yaml", code=code)
    assert message in errors
    assert "crashes" not in errors


def test_installed_ignores_the_locations_in_the_file(tmp_path: Path) -> None:
    _, errors = call(tmp_path, str(EXAMPLE / "survey.yaml"), "--installed", code=3)
    assert "next:" not in errors  # of a job on a cluster, the last line is shown as the reason
    assert "survey.yaml:9:9: extension survey: No module named 'survey'" in errors
