"""Local processes that end when they must: on a time limit, and when the work is cancelled."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator, Sequence

from flambe_ansible.errors import CancelledError


class Processes:
    """The processes that are running for one owner."""

    def __init__(self) -> None:
        self._running: set[subprocess.Popen[bytes]] = set()
        self._lock = threading.Lock()
        self._cancelled = False

    def run(
        self,
        argv: Sequence[str],
        *,
        data: bytes | None = None,
        timeout: float | None = None,
        on_output: Callable[[bytes], None] | None = None,
    ) -> subprocess.CompletedProcess[bytes]:
        """Run a process to its end.

        Args:
            argv: What to run; no shell is between.
            data: Its standard input; without it there is none.
            timeout: Seconds after which it is killed.
            on_output: Gets standard output in pieces, instead of the result.

        Raises:
            subprocess.TimeoutExpired: It was killed after the time limit.
            CancelledError: It was ended by :meth:`cancel`.
        """
        stdin = subprocess.DEVNULL if data is None else subprocess.PIPE
        process = self._start(argv, stdin)
        try:
            with _time_limit(process, None if on_output is None else timeout) as expired:
                if on_output is None:
                    stdout, stderr = process.communicate(data, timeout)
                else:
                    stdout, stderr = _stream(process, on_output)
            if expired.is_set():
                raise subprocess.TimeoutExpired(list(argv), timeout or 0.0)
        finally:
            kill_group(process)
            with self._lock:
                self._running.discard(process)
                cancelled = self._cancelled
        if cancelled:
            raise CancelledError("cancelled")
        return subprocess.CompletedProcess(list(argv), process.returncode, stdout, stderr)

    def cancel(self) -> None:
        """End all that runs; nothing new starts."""
        with self._lock:
            self._cancelled = True
            running = list(self._running)
        for process in running:
            kill_group(process, wait=False)

    def reset(self) -> None:
        """Allow new processes again after :meth:`cancel`."""
        with self._lock:
            self._cancelled = False

    def _start(self, argv: Sequence[str], stdin: int) -> subprocess.Popen[bytes]:
        with self._lock:
            if self._cancelled:
                raise CancelledError("cancelled")
            process = subprocess.Popen(
                list(argv), stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
            )
            self._running.add(process)
            return process


def kill_group(process: subprocess.Popen[bytes], *, wait: bool = True) -> None:
    """Kill a process that leads a session, and what it started; a finished one is left as it is."""
    if process.poll() is None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        if wait:
            process.wait()
    if wait:
        for pipe in (process.stdin, process.stdout, process.stderr):
            if pipe:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()


@contextlib.contextmanager
def _time_limit(process: subprocess.Popen[bytes], timeout: float | None) -> Iterator[threading.Event]:
    """Kill the process after the timeout; say in an event that it was so."""
    expired = threading.Event()
    if timeout is None:
        yield expired
        return

    def expire() -> None:
        expired.set()
        kill_group(process, wait=False)

    timer = threading.Timer(timeout, expire)
    timer.daemon = True
    timer.start()
    try:
        yield expired
    finally:
        timer.cancel()


def _stream(process: subprocess.Popen[bytes], on_output: Callable[[bytes], None]) -> tuple[bytes, bytes]:
    """Hand out standard output as it comes; a thread keeps standard error from filling its pipe."""
    assert process.stdout is not None  # noqa: S101 - Popen was told to pipe both
    assert process.stderr is not None  # noqa: S101
    errors: list[bytes] = []
    stderr = process.stderr
    reader = threading.Thread(target=lambda: errors.append(stderr.read()), daemon=True)
    reader.start()
    while chunk := os.read(process.stdout.fileno(), 65536):
        on_output(chunk)
    process.wait()
    reader.join()
    return b"", b"".join(errors)
