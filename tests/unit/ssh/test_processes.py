"""Local processes end on their limit and on cancel, with what they started."""

from __future__ import annotations

import subprocess
import sys
import threading
import time

import pytest

from flambe_ansible.errors import CancelledError
from flambe_ansible.ssh.processes import Processes

# Its child keeps the pipe open after the process itself has been killed.
ORPHANING = "import subprocess, sys; print('x', flush=True); subprocess.run(['sleep', '12'], start_new_session=True)"


def test_input_and_output() -> None:
    done = Processes().run(["cat"], data=b"h\xc3\xa9")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"h\xc3\xa9", b"")


def test_streamed_output() -> None:
    heard: list[bytes] = []
    done = Processes().run(["sh", "-c", "echo a; echo e >&2; echo b; exit 3"], on_output=heard.append)
    assert (done.returncode, b"".join(heard), done.stderr) == (3, b"a\nb\n", b"e\n")


@pytest.mark.parametrize("streamed", [False, True])
def test_time_limit(streamed: bool) -> None:
    started = time.monotonic()
    with pytest.raises(subprocess.TimeoutExpired) as caught:
        Processes().run([sys.executable, "-c", ORPHANING], timeout=1.0, on_output=print if streamed else None)
    assert time.monotonic() - started < 10
    if not streamed:
        assert caught.value.stdout == b"x\n"


def test_cancel_ends_what_runs_and_starts_nothing_until_reset() -> None:
    processes = Processes()
    threading.Timer(0.3, processes.cancel).start()
    started = time.monotonic()
    with pytest.raises(CancelledError):
        processes.run([sys.executable, "-c", ORPHANING])
    with pytest.raises(CancelledError):
        processes.run(["true"])
    assert time.monotonic() - started < 10
    processes.reset()
    assert processes.run(["true"]).returncode == 0
