"""Local processes that end when they must: on a time limit, and when the work is cancelled."""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Sequence

from flambe_ansible.errors import CancelledError

_GLANCE = 0.25


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
        process = self._start(argv, subprocess.DEVNULL if data is None else subprocess.PIPE)
        deadline = None if timeout is None else time.monotonic() + timeout
        try:
            if on_output is None:
                stdout, stderr = self._communicate(process, data, deadline)
            else:
                stdout, stderr = self._stream(process, on_output, deadline)
        finally:
            kill_group(process)
            with self._lock:
                self._running.discard(process)
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

    def _communicate(
        self, process: subprocess.Popen[bytes], data: bytes | None, deadline: float | None
    ) -> tuple[bytes, bytes]:
        """Collect the output; in short waits, for the end of a killed client is not the end of its pipes.

        A client of a kept connection hands its pipes to the master, which keeps them until the host's command ends.
        """
        while True:
            try:
                return process.communicate(data, _GLANCE)
            except subprocess.TimeoutExpired as e:
                self._check(process, deadline, e.stdout or b"", e.stderr or b"")
                data = None  # the first call has it

    def _stream(
        self, process: subprocess.Popen[bytes], on_output: Callable[[bytes], None], deadline: float | None
    ) -> tuple[bytes, bytes]:
        """Hand out standard output as it comes, collect standard error."""
        errors = b""
        with selectors.DefaultSelector() as selector:
            for pipe in (process.stdout, process.stderr):
                if pipe:
                    selector.register(pipe, selectors.EVENT_READ)
            while selector.get_map():
                for key, _ in selector.select(_GLANCE):
                    chunk = os.read(key.fd, 65536)
                    if not chunk:
                        selector.unregister(key.fileobj)
                    elif key.fileobj is process.stdout:
                        on_output(chunk)
                    else:
                        errors += chunk
                self._check(process, deadline, b"", errors)
        process.wait()
        return b"", errors

    def _check(self, process: subprocess.Popen[bytes], deadline: float | None, stdout: bytes, stderr: bytes) -> None:
        if self._cancelled:
            raise CancelledError("cancelled")
        if deadline is not None and time.monotonic() >= deadline:
            raise subprocess.TimeoutExpired(process.args, 0.0, stdout, stderr)


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
