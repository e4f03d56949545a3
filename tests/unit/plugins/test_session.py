"""Modules whose session ends: what they started ends, and a later module waits for them."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.flambe.cluster.plugins.module_utils import apt_lock, host_lock, session

from flambe_ansible.paths import collections_root

# A module that runs a command; the shell starts one process in its own group, and one in a new session.
MODULE = """
import os, pwd, sys
sys.path.insert(0, {root!r})
from ansible_collections.flambe.cluster.plugins.module_utils import account
line = "sleep 300 & echo $! > {folder}/one; setsid sleep 300 & echo $! > {folder}/two; echo $$ > {folder}/ready; wait"
try:
    account.run(pwd.getpwuid(os.geteuid()), ["/bin/sh", "-c", line], timeout=120)
except Exception:
    open("{folder}/handled", "w")
open("{folder}/recorded", "w")
"""


@pytest.fixture
def module(tmp_path: Path) -> str:
    path = tmp_path / "module.py"
    path.write_text(MODULE.format(root=str(collections_root()), folder=tmp_path))
    return f"{sys.executable} {path}"


def wait_for(condition: Any, what: str) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.1)


def runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


# With use_pty, sudo gives the module a pipe of its own and copies the output.
@pytest.mark.parametrize("relayed", [False, True])
def test_the_end_of_the_session_ends_all_processes(tmp_path: Path, module: str, relayed: bool) -> None:
    command = f"{module} & wait"
    if relayed:
        sudo = tmp_path / "sudo"
        sudo.write_text(f"#!/bin/bash\n{module} | cat\n")
        sudo.chmod(0o755)
        command = f"{sudo} & wait"
    process = subprocess.Popen(["/bin/sh", "-c", command], stdout=subprocess.PIPE, start_new_session=True)
    wait_for((tmp_path / "ready").exists, "the command did not start")
    pids = [int((tmp_path / name).read_text()) for name in ("one", "two", "ready")]
    time.sleep(2.5)
    assert all(map(runs, pids))
    assert process.stdout is not None
    process.stdout.close()  # as sshd does
    wait_for(lambda: not any(map(runs, pids)), f"they still run: {pids}")
    process.wait(60)
    assert not (tmp_path / "handled").exists()
    assert not (tmp_path / "recorded").exists()


def test_the_death_of_the_parent_ends_the_session(tmp_path: Path, module: str) -> None:
    process = subprocess.Popen(["/bin/sh", "-c", f"{module} & wait"], stdout=subprocess.PIPE, start_new_session=True)
    wait_for((tmp_path / "ready").exists, "the command did not start")
    process.kill()
    pid = int((tmp_path / "ready").read_text())
    wait_for(lambda: not runs(pid), "it still runs")
    process.communicate()


def test_a_later_module_waits_for_an_earlier_one(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    code = "import fcntl, sys, time; f = open(sys.argv[1], 'w'); fcntl.flock(f, 2); print(flush=True); time.sleep(2)"
    holder = subprocess.Popen([sys.executable, "-c", code, path], stdout=subprocess.PIPE)
    assert holder.stdout is not None
    holder.stdout.readline()
    started = time.monotonic()
    with host_lock.hold(str(path), "installation in /opt/x"):
        assert time.monotonic() - started > 0.5
        assert path.read_text() == str(os.getpid())
        with path.open() as other, pytest.raises(BlockingIOError):
            fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    holder.communicate()


def test_the_wait_has_a_limit_and_a_name(tmp_path: Path) -> None:
    path = str(tmp_path / "lock")
    message = rf"an earlier installation in /opt/x \(process {os.getpid()}\) still runs on this host after 0.2 s"
    with host_lock.hold(path, ""), pytest.raises(host_lock.LockedError, match=message):
        host_lock.hold(path, "installation in /opt/x", seconds=0.2).__enter__()


def test_waits_end_with_the_session(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "has_ended", lambda: True)
    monkeypatch.setattr(apt_lock, "holder", lambda _paths: ("lock", 1))
    with pytest.raises(session.SessionEndedError):
        apt_lock.wait(time.monotonic() + 60)
    path = str(tmp_path / "lock")
    with host_lock.hold(path, ""), pytest.raises(session.SessionEndedError):
        host_lock.hold(path, "installation").__enter__()
