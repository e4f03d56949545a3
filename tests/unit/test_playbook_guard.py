"""The process that ends a playbook whose owner was killed."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from flambe_ansible import playbook_guard


@pytest.mark.parametrize(("written", "kept"), [(b"", False), (playbook_guard.DONE, True)])
def test_a_playbook_ends_with_its_owner(tmp_path: Path, written: bytes, kept: bool) -> None:
    folder = tmp_path / "flambe-play-x"
    folder.mkdir()
    # Like a worker of Ansible: another session, and a child without the folder in its command line.
    code = "import os, subprocess; os.setsid(); print(subprocess.Popen(['sleep', '300']).pid, flush=True); os.wait()"
    worker = subprocess.Popen([sys.executable, "-c", code, f"{folder}/hosts.json"], stdout=subprocess.PIPE)
    assert worker.stdout is not None
    child = int(worker.stdout.readline())
    bystander = subprocess.Popen(["sleep", "300"])
    try:
        done = subprocess.run([sys.executable, "-I", playbook_guard.__file__, str(folder)], input=written, check=False)
        assert done.returncode == 0
        if not kept:
            assert worker.wait(30) == -9
        assert (worker.poll() is None, _runs(child, gone=not kept), folder.exists()) == (kept, kept, kept)
        assert bystander.poll() is None
    finally:
        for process in (worker, bystander):
            process.kill()
            process.wait()
        worker.stdout.close()
        if _runs(child):
            subprocess.run(["kill", str(child)], check=False)


def _runs(pid: int, *, gone: bool = False) -> bool:
    """Return whether a process runs; with ``gone``, wait up to 10 s for its end."""
    deadline = time.monotonic() + (10 if gone else 0)
    while True:
        path = Path(f"/proc/{pid}/stat")
        alive = path.exists() and path.read_text().rpartition(")")[2].split()[0] != "Z"
        if not alive or time.monotonic() > deadline:
            return alive
        time.sleep(0.1)
