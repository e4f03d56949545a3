"""The workers of a job: they get its files and its variables."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from tests.unit.ray_jobs.conftest import Submit, wait

# Runs the command that follows the options and the host's name here, in place of the head.
SSH = """#!/bin/sh
while [ "${1#-}" != "$1" ]; do case $1 in -[io]) shift 2;; *) shift;; esac; done
[ "$1" = 10.0.0.9 ] || { echo "ssh: no route to $1" >&2; exit 255; }
shift
exec sh -c "$*"
"""
HEAD = "--gcs-address=10.0.0.9:6379"


@pytest.fixture
def job(settings: Any, submit: Submit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Return a running job; ssh is replaced."""
    found = submit("import time\ntime.sleep(60)", files={"helper.py": "X = 42\n"}, env={"KEY": "s3cret"})
    wait(settings, found, active=True)
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "ssh").write_text(SSH)
    (tmp_path / "bin" / "ssh").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    return found


def start(
    settings: Any, job: str, program: str, *words: str, cwd: Path | None = None
) -> subprocess.CompletedProcess[str]:
    argv = [settings.program, "worker", job, "-c", program, *words]
    return subprocess.run(argv, cwd=cwd, capture_output=True, text=True, check=False, timeout=60)


def test_a_worker_on_the_head_is_in_the_folder_of_the_job(settings: Any, job: str) -> None:
    program = "import os, sys, helper; print(helper.X, os.environ['KEY'], os.getcwd(), sys.argv[1:])"
    done = start(settings, job, program, "a b", HEAD)
    assert done.stdout == f"42 s3cret {settings.folder}/{job}/work {['a b', HEAD]}\n", done.stderr


def test_the_first_worker_on_another_host_copies_the_files(settings: Any, job: str, tmp_path: Path) -> None:
    # The path of the jobs is relative, so it is another one on the head, where ssh changes the folder.
    (tmp_path / "head").mkdir()
    (tmp_path / "head" / "jobs").symlink_to(settings.folder)
    (tmp_path / "worker").mkdir()
    (tmp_path / "bin" / "ssh").write_text(SSH.replace("exec sh", f"cd {tmp_path}/head; exec sh"))
    values = json.loads((tmp_path / "settings.json").read_text())
    (tmp_path / "settings.json").write_text(json.dumps({**values, "folder": "jobs"}))
    program = "import os, helper; print(helper.X, os.environ['KEY'])"
    for _ in range(2):
        done = start(settings, job, program, HEAD, cwd=tmp_path / "worker")
        assert done.stdout == "42 s3cret\n", done.stderr
    copy = tmp_path / "worker" / "jobs" / job
    assert sorted(path.name for path in copy.iterdir()) == [".lock", "env.json", "fetched.json", "work"]
    assert (copy / "env.json").stat().st_mode & 0o777 == 0o600


def test_a_worker_starts_without_files_that_cannot_be_copied(
    settings: Any, job: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.rmtree(Path(settings.folder, job))
    from flambe_ray_jobs import worker

    monkeypatch.setattr(worker, "_TRIES", 1)
    monkeypatch.setattr(time, "sleep", lambda _seconds: None)
    started: list[Any] = []
    monkeypatch.setattr(os, "execve", lambda *words: started.append(words))
    messages: list[str] = []
    monkeypatch.setattr("sys.stderr.write", messages.append)
    worker.start(settings, job, ["main.py", "--gcs-address=10.0.0.8:6379"])
    assert started[0][1] == [f"{settings.runtime}/bin/python", "main.py", "--gcs-address=10.0.0.8:6379"]
    assert f"the files of {job} could not be copied from 10.0.0.8: ssh: no route to 10.0.0.8" in messages[0]


def test_old_copies_that_no_worker_uses_are_removed(settings: Any, tmp_path: Path) -> None:
    from flambe_ray_jobs import working

    old = time.time() - 2 * 86400
    for name in ("unused", "used", "recent", "own"):
        folder = Path(settings.folder, name)
        folder.mkdir(parents=True)
        (folder / ("job.json" if name == "own" else "fetched.json")).write_text("{}")
        (folder / ".lock").touch()
        if name != "recent":
            os.utime(folder, (old, old))
    with Path(settings.folder, "used", ".lock").open() as file:
        fcntl.flock(file, fcntl.LOCK_SH)
        working.clean_fetched(settings)
    assert sorted(path.name for path in Path(settings.folder).iterdir()) == ["own", "recent", "used"]
