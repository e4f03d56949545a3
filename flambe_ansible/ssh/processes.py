"""Local processes that end on a time limit and on cancellation."""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Sequence

from flambe_ansible.errors import CancelledError, HostConnectionError

TOOL_TIMEOUT = 30.0  # seconds
_POLL = 0.25


def run_tool(argv: Sequence[str], *, host: str) -> subprocess.CompletedProcess[str]:
    """Run a local OpenSSH tool that opens no connection, such as ``ssh -G``; ``host`` is for the error."""
    try:
        return subprocess.run(
            list(argv), capture_output=True, stdin=subprocess.DEVNULL, text=True, check=False, timeout=TOOL_TIMEOUT
        )
    except subprocess.TimeoutExpired as e:
        raise HostConnectionError(
            f"{host}: {' '.join(argv[:2])} took longer than {TOOL_TIMEOUT:g} s",
            host=host,
            hint="a 'Match exec' command in ~/.ssh/config may not end; test it with: ssh -G HOST",
        ) from e
    except FileNotFoundError as e:
        raise HostConnectionError(
            f"{host}: {argv[0]} is not installed on this machine", host=host, hint="install the OpenSSH client"
        ) from e


def read_config(address: str, *, port: int, username: str) -> str:
    """Return the output of ``ssh -G`` for an address; "" if it failed."""
    answer = run_tool(["ssh", "-G", "-p", str(port), "-l", username, "--", address], host=address)
    return answer.stdout if answer.returncode == 0 else ""


class Processes:
    """The running processes of one owner."""

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
        """Run a process to its end; it is killed after ``timeout`` seconds, and by :meth:`cancel`.

        ``on_output`` receives the pieces of standard output, which is then missing in the result.
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
        if self._cancelled and process.returncode == -signal.SIGKILL:  # killed before the next check
            raise CancelledError("cancelled")
        return subprocess.CompletedProcess(list(argv), process.returncode, stdout, stderr)

    def cancel(self) -> None:
        """Kill all running processes, and start no new ones until :meth:`reset`."""
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
        """Collect the output, polling for the limit and for cancellation.

        Waiting for the end of the pipes is not enough: a client of a kept connection passes its pipes to the master,
        which keeps them open until the host's command ends.
        """
        while True:
            try:
                return process.communicate(data, _POLL)
            except subprocess.TimeoutExpired as e:
                self._check(process, deadline, e.stdout or b"", e.stderr or b"")
                data = None  # the first call has sent it

    def _stream(
        self, process: subprocess.Popen[bytes], on_output: Callable[[bytes], None], deadline: float | None
    ) -> tuple[bytes, bytes]:
        """Pass on standard output as it arrives, and collect standard error."""
        errors = b""
        with selectors.DefaultSelector() as selector:
            for pipe in (process.stdout, process.stderr):
                if pipe:
                    selector.register(pipe, selectors.EVENT_READ)
            while selector.get_map():
                for key, _ in selector.select(_POLL):
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
    """Kill the process group of a session leader, if the leader is still running."""
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
