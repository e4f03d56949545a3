"""One kept connection per host: an ssh master process that this process owns.

The master runs in a session of its own, so that Ctrl-C in the terminal leaves it alone, and holds a ``cat`` on the
host whose input is a pipe from here: when this process ends, in whatever way, the connection ends too.
"""

from __future__ import annotations

import contextlib
import os
import re
import selectors
import signal
import subprocess
import time
from dataclasses import dataclass
from enum import Enum, auto
from pathlib import Path

from flambe_ansible.ssh.options import READY, Target, control_argv, master_argv

_GOODBYE = 3.0


class Failure(Enum):
    """Why a connection could not be made, as far as what to do next depends on it."""

    HOST_KEY = auto()
    DENIED = auto()
    LOCAL = auto()
    UNREACHABLE = auto()


@dataclass(frozen=True, kw_only=True)
class Diagnosis:
    """What an ssh that failed said.

    Attributes:
        failure: Its kind.
        message: ssh's own words, one line.
        seen: The fingerprint of the key that the host showed, or "".
    """

    failure: Failure
    message: str
    seen: str = ""


class ConnectFailedError(Exception):
    """One attempt failed; for this package only."""

    def __init__(self, diagnosis: Diagnosis) -> None:
        super().__init__(diagnosis.message)
        self.diagnosis = diagnosis


class Master:
    """A host's kept connection.

    Attributes:
        socket: Where commands join it.
    """

    def __init__(self, target: Target, socket: Path) -> None:
        self.target = target
        self.socket = socket
        self._log = socket.with_suffix(".log")
        self._process: subprocess.Popen[bytes] | None = None
        self._ready = False

    @property
    def alive(self) -> bool:
        """Whether the connection is there."""
        return self._process is not None and self._process.poll() is None and self.socket.exists()

    def open(self, *, timeout: float) -> None:
        """Connect and log in.

        Args:
            timeout: Seconds until a host that neither lets in nor refuses counts as unreachable.

        Raises:
            ConnectFailedError: It did not work.
        """
        self.kill()
        self.socket.unlink(missing_ok=True)  # a killed master leaves it, and ours could not share itself
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                master_argv(self.target, self.socket),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                start_new_session=True,
            )
        printed, timed_out = _read_until_ready(self._process, time.monotonic() + timeout)
        if READY in printed:
            self._ready = True
            return
        self.kill()
        log_text = self._log.read_text(errors="replace")
        raise ConnectFailedError(diagnose(log_text, printed, timed_out=timed_out))

    def hang_up(self) -> None:
        """Ask the connection to end, and wait for nothing."""
        process = self._process
        if process is not None and process.stdin and not process.stdin.closed:
            with contextlib.suppress(BrokenPipeError):
                process.stdin.close()

    def close(self, *, patience: float) -> None:
        """End the connection; commands that still use it after that many seconds end too."""
        self.hang_up()
        if self._process is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(patience)
            self.kill()
        if self.socket.exists():  # Ansible made a master of its own after ours was lost
            subprocess.run(control_argv(self.socket, "exit"), capture_output=True, check=False, timeout=10)

    def interrupt(self) -> None:
        """End an attempt to connect; a connection that is open stays."""
        process = self._process
        if process is not None and not self._ready:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)

    def kill(self) -> None:
        """End the process at once."""
        process, self._process, self._ready = self._process, None, False
        if process is None:
            return
        if process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)  # with it the ProxyCommand
            try:
                process.wait(_GOODBYE)
            except subprocess.TimeoutExpired:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()


def diagnose(log: str, printed: str = "", *, timed_out: bool = False) -> Diagnosis:
    """Tell from ssh's log why it could not connect.

    Args:
        log: What ssh wrote to standard error at ``LogLevel=DEBUG1``.
        printed: What the host printed instead of letting in.
        timed_out: Whether ssh was ended because it took too long.
    """
    lines = [line.strip() for line in log.splitlines()]
    seen = re.search(r"debug1: Server host key: (\S+ SHA256:\S+)", log)
    said = [line for line in lines if line and not _is_noise(line)]
    message = said[-1] if said else ""
    if printed.strip():
        message = " ".join(printed.split())[:300]
    if "Host key verification failed" in log or "REMOTE HOST IDENTIFICATION HAS CHANGED" in log:
        if seen:
            return Diagnosis(failure=Failure.HOST_KEY, message=message, seen=seen[1])
        # Our own ssh saw no key, so this was the bastion's, checked by the ssh inside the ProxyCommand.
        return Diagnosis(failure=Failure.LOCAL, message="the bastion's host key is not in your known_hosts")
    local = re.search(
        r"^.*(?:bad permissions|UNPROTECTED PRIVATE KEY|Bad owner or permissions|command-line.*Bad|Bad configuration"
        r"|Identity file .* not accessible|Unable to negotiate|invalid format|error in libcrypto).*$",
        log,
        re.MULTILINE,
    )
    if local:
        return Diagnosis(failure=Failure.LOCAL, message=local[0].strip())
    if "Permission denied" in log or "Too many authentication failures" in log:
        denied = next((line for line in reversed(said) if "denied" in line or "Too many" in line), message)
        return Diagnosis(failure=Failure.DENIED, message=denied)
    if timed_out:
        message = f"no login in time{f' ({message})' if message else ''}"
    return Diagnosis(failure=Failure.UNREACHABLE, message=message or "the connection was closed")


def _is_noise(line: str) -> bool:
    return line.startswith(
        ("debug1:", "OpenSSH_", "Warning: Permanently added", "Authenticated to", "Pseudo-terminal", "@@")
    )


def _read_until_ready(process: subprocess.Popen[bytes], deadline: float) -> tuple[str, bool]:
    """Read what the host prints until it is ready; also tell whether the time was up."""
    assert process.stdout is not None  # noqa: S101 - Popen was told to pipe it
    printed = b""
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while READY.encode() not in printed:
            left = deadline - time.monotonic()
            if left <= 0 or not selector.select(left):
                return printed.decode(errors="replace"), True
            chunk = os.read(process.stdout.fileno(), 4096)
            if not chunk:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(_GOODBYE)
                return printed.decode(errors="replace"), False
            printed += chunk
    return printed.decode(errors="replace"), False
