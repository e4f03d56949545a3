"""Local processes end at their time limit and on cancel, with their children."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from flambe_ansible.errors import CancelledError
from flambe_ansible.ssh.processes import Processes


@pytest.fixture
def orphaning(tmp_path: Path) -> Iterator[list[str]]:
    """Return a command whose child, in a separate session, keeps the pipe open after the command was killed."""
    child = tmp_path / "child"
    text = f"echo $$ > {child}.draft; mv {child}.draft {child}; exec sleep 600"
    yield ["sh", "-c", f"echo x; setsid sh -c '{text}' & wait"]
    if child.exists():
        os.kill(int(child.read_text()), signal.SIGKILL)


def test_input_and_output() -> None:
    done = Processes().run(["cat"], data=b"h\xc3\xa9")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"h\xc3\xa9", b"")


@pytest.mark.parametrize("streamed", [False, True])
def test_a_slow_reader_receives_the_whole_input(streamed: bool) -> None:
    received: list[bytes] = []
    argv = ["sh", "-c", "sleep 1; cat | wc -c"]
    done = Processes().run(argv, data=b"x" * 1_000_000, timeout=20, on_output=received.append if streamed else None)
    assert (b"".join(received) if streamed else done.stdout) == b"1000000\n"


def test_a_process_that_reads_no_input_ends() -> None:
    assert Processes().run(["sh", "-c", "exec <&-; sleep 0.5; exit 3"], data=b"x" * 1_000_000).returncode == 3


def test_streamed_output() -> None:
    received: list[bytes] = []
    done = Processes().run(["sh", "-c", "echo a; echo e >&2; echo b; exit 3"], on_output=received.append)
    assert (done.returncode, b"".join(received), done.stderr) == (3, b"a\nb\n", b"e\n")


@pytest.mark.parametrize("streamed", [False, True])
def test_time_limit(streamed: bool, orphaning: list[str]) -> None:
    started = time.monotonic()
    with pytest.raises(subprocess.TimeoutExpired) as caught:
        Processes().run(orphaning, timeout=1.0, on_output=print if streamed else None)
    assert time.monotonic() - started < 300
    if not streamed:
        assert caught.value.stdout == b"x\n"


def test_cancel_is_an_error_if_the_process_ends_before_the_next_check(monkeypatch: pytest.MonkeyPatch) -> None:
    processes = Processes()
    monkeypatch.setattr("flambe_ansible.ssh.processes._POLL", 600)
    threading.Timer(0.5, processes.cancel).start()
    with pytest.raises(CancelledError):
        processes.run(["sleep", "600"])


def test_cancel_ends_running_processes_and_starts_none_until_reset(orphaning: list[str], tmp_path: Path) -> None:
    processes = Processes()

    def cancel_once_it_runs() -> None:
        while not (tmp_path / "child").exists():
            time.sleep(0.01)
        processes.cancel()

    threading.Thread(target=cancel_once_it_runs, daemon=True).start()
    started = time.monotonic()
    with pytest.raises(CancelledError):
        processes.run(orphaning)
    with pytest.raises(CancelledError):
        processes.run(["true"])
    assert time.monotonic() - started < 300
    processes.reset()
    assert processes.run(["true"]).returncode == 0
