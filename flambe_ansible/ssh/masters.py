"""One open connection per host: an ssh master process that this process owns.

The master runs in its own session, so that Ctrl-C in the terminal does not end it. It runs ``cat`` on the host with a
pipe from this process as input: when this process ends, for any reason, the connection ends too.
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
_NOISE = (
    "debug1:",
    "OpenSSH_",
    "Warning: Permanently added",
    "Authenticated to",
    "Pseudo-terminal",
    "@@",
    "Killed by signal",  # the end of the process by a time limit here
)


class Failure(Enum):
    """The reason of a failed connection."""

    HOST_KEY = auto()  # the host's key is unknown or different
    REVOKED_KEY = auto()  # the host's key is revoked
    BASTION_KEY = auto()  # the key of the bastion is unknown, different or revoked
    DENIED = auto()  # the login was refused
    LOCAL = auto()  # a problem on this machine, such as the permissions of the key
    UNREACHABLE = auto()  # anything else


FINAL_FAILURES = frozenset({Failure.HOST_KEY, Failure.REVOKED_KEY, Failure.BASTION_KEY, Failure.LOCAL})  # not retried


@dataclass(frozen=True, kw_only=True)
class Diagnosis:
    """The diagnosis of a failed ssh."""

    failure: Failure
    message: str  # ssh's message, one line
    seen: str = ""  # the fingerprint of the key that the host presented


class ConnectFailedError(Exception):
    """One attempt failed; only used in this package."""

    def __init__(self, diagnosis: Diagnosis) -> None:
        super().__init__(diagnosis.message)
        self.diagnosis = diagnosis


class Master:
    """A host's open connection; commands use it by its socket."""

    def __init__(self, target: Target, socket: Path) -> None:
        self.target = target
        self.socket = socket
        self._log = socket.with_suffix(".log")
        self._process: subprocess.Popen[bytes] | None = None
        self._ready = False

    @property
    def alive(self) -> bool:
        """Whether the connection is open."""
        return self._process is not None and self._process.poll() is None and self.socket.exists()

    def open(self, *, timeout: float) -> None:
        """Connect and log in, or raise ``ConnectFailedError``."""
        self.kill()
        self.socket.unlink(missing_ok=True)  # the socket of a killed master would prevent sharing
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
        """Start to end the connection, without waiting."""
        process = self._process
        if process is not None and process.stdin and not process.stdin.closed:
            with contextlib.suppress(BrokenPipeError):
                process.stdin.close()

    def close(self, *, patience: float) -> None:
        """End the connection, after at most ``patience`` seconds for the commands that still use it."""
        self.hang_up()
        if self._process is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(patience)
            self.kill()
        if self.socket.exists():  # Ansible opened a new master after this one was lost
            with contextlib.suppress(subprocess.TimeoutExpired):
                subprocess.run(control_argv(self.socket, "exit"), capture_output=True, check=False, timeout=10)

    def interrupt(self) -> None:
        """Cancel an attempt to connect; an open connection is kept."""
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
                os.killpg(process.pid, signal.SIGTERM)  # this includes the ProxyCommand
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
    """Find the reason of a failed connection in ssh's log (``LogLevel=DEBUG1``) and in the host's output."""
    lines = [line.strip() for line in log.splitlines()]
    seen = re.search(r"debug1: Server host key: (\S+ SHA256:\S+)", log)
    relevant = [line for line in lines if line and not line.startswith(_NOISE)]
    message = relevant[-1] if relevant else ""
    if printed.strip():
        message = " ".join(printed.split())[:300]
    revoked = "REVOKED HOST KEY DETECTED" in log
    changed = "REMOTE HOST IDENTIFICATION HAS CHANGED" in log
    if revoked or changed or "Host key verification failed" in log:
        if seen:
            failure = Failure.REVOKED_KEY if revoked else Failure.HOST_KEY
            return Diagnosis(failure=failure, message=message, seen=seen[1])
        # The outer ssh received no key, so this one is the bastion's, checked by the ssh in the ProxyCommand.
        problem = "is revoked" if revoked else "differs from the one" if changed else "is not"
        return Diagnosis(failure=Failure.BASTION_KEY, message=f"the bastion's host key {problem} in your known_hosts")
    local = re.search(
        r"^.*(?:bad permissions|UNPROTECTED PRIVATE KEY|Bad owner or permissions|command-line|Bad configuration"
        r"|Identity file .* not accessible|Unable to negotiate|invalid format|error in libcrypto).*$",
        log,
        re.MULTILINE,
    )
    if local:
        return Diagnosis(failure=Failure.LOCAL, message=local[0].strip())
    if "Permission denied" in log or "Too many authentication failures" in log:
        denied = next((line for line in reversed(relevant) if "denied" in line or "Too many" in line), message)
        return Diagnosis(failure=Failure.DENIED, message=denied)
    if timed_out:
        message = f"no login in time{f' ({message})' if message else ''}"
    return Diagnosis(failure=Failure.UNREACHABLE, message=message or "the connection was closed")


def _read_until_ready(process: subprocess.Popen[bytes], deadline: float) -> tuple[str, bool]:
    """Read the host's output until it is ready; also return whether the time was up."""
    assert process.stdout is not None  # noqa: S101 - it is a pipe, see open()
    printed, timed_out = b"", False
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while READY.encode() not in printed:
            left = deadline - time.monotonic()
            timed_out = left <= 0 or not selector.select(left)
            if timed_out:
                break
            chunk = os.read(process.stdout.fileno(), 4096)
            if not chunk:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(_GOODBYE)
                break
            printed += chunk
    return printed.decode(errors="replace"), timed_out
