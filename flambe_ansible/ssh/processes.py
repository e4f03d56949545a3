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
        output: list[bytes] = []
        try:
            stderr = self._exchange(process, data or b"", on_output or output.append, output, deadline)
        finally:
            kill_group(process)
            with self._lock:
                self._running.discard(process)
        if self._cancelled and process.returncode == -signal.SIGKILL:  # killed before the next check
            raise CancelledError("cancelled")
        return subprocess.CompletedProcess(list(argv), process.returncode, b"".join(output), stderr)

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

    def _exchange(
        self,
        process: subprocess.Popen[bytes],
        data: bytes,
        on_output: Callable[[bytes], None],
        output: list[bytes],
        deadline: float | None,
    ) -> bytes:
        """Send the input, pass on standard output as it arrives, and return standard error.

        It polls for the limit and for cancellation: waiting for the end of the pipes is not enough, since a client of a
        kept connection passes its pipes to the master, which keeps them open until the host's command ends.
        ``Popen.communicate`` loses the rest of the input if its time limit ends before all is sent.
        """
        errors, rest = b"", memoryview(data)
        with selectors.DefaultSelector() as selector:
            for pipe in (process.stdout, process.stderr):
                if pipe:
                    selector.register(pipe, selectors.EVENT_READ)
            if process.stdin:
                os.set_blocking(process.stdin.fileno(), False)
                selector.register(process.stdin, selectors.EVENT_WRITE)
            while selector.get_map():
                for key, _ in selector.select(_POLL):
                    if key.fileobj is process.stdin:
                        rest = _send(key.fd, rest)
                        if not rest:
                            selector.unregister(process.stdin)
                            process.stdin.close()
                        continue
                    chunk = os.read(key.fd, 65536)
                    if not chunk:
                        selector.unregister(key.fileobj)
                    elif key.fileobj is process.stdout:
                        on_output(chunk)
                    else:
                        errors += chunk
                self._check(process, deadline, b"".join(output), errors)
        process.wait()
        return errors

    def _check(self, process: subprocess.Popen[bytes], deadline: float | None, stdout: bytes, stderr: bytes) -> None:
        if self._cancelled:
            raise CancelledError("cancelled")
        if deadline is not None and time.monotonic() >= deadline:
            raise subprocess.TimeoutExpired(process.args, 0.0, stdout, stderr)


def _send(descriptor: int, data: memoryview) -> memoryview:
    """Write what a pipe takes; return the rest, which is empty if the pipe has no reader."""
    try:
        return data[os.write(descriptor, data) :] if data else data
    except BlockingIOError:
        return data
    except BrokenPipeError:
        return memoryview(b"")


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
