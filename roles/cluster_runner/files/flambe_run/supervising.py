"""The unit's main process: run the job's command, forward its output, record its state."""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
import sys
import threading
import time
from collections import deque

from causes import Causes
from journal import Journal
from settings import now, read_boot
from text import Lines
from watching import Watch

_TAIL = 50
_LOOK_SECONDS = 0.5
_DRAIN_SECONDS = 3.0  # to read the rest of the pipe after the command has ended
_OWN = "flambe-run: "


def supervise(settings):
    """Run the job that ``start`` recorded; return the exit code of the unit."""
    spec = settings.load("spec")
    if not spec:
        sys.stderr.write("no job has been started: use flambe-run start\n")
        return 1
    job = Job(settings, spec)
    signal.signal(signal.SIGTERM, lambda *_: job.stop())
    return job.run()


class Job:
    """One execution of a command."""

    def __init__(self, settings, spec):
        self._settings = settings
        self._spec = spec
        self._stopping = False
        self._tail = deque(maxlen=_TAIL)
        self._lock = threading.Lock()
        self._journal = Journal(spec["log"])
        self._causes = Causes()
        self._lines = Lines()
        self._log = None

    def stop(self):
        """Request the end of the job."""
        self._stopping = True

    def run(self):
        """Run the command until it ends; return the unit's exit code."""
        settings, spec = self._settings, self._spec
        settings.update(state="running", since=now(), invocation=os.environ.get("INVOCATION_ID", ""), boot=read_boot())
        with open_private(os.path.join(spec["directory"], spec["log"])) as self._log:
            try:
                process = self._spawn()
            except OSError as error:
                return self._finish(None, f"{spec['command'][0]}: {error.strerror}")
            watch = Watch(settings, spec, self.notify, lambda lost: settings.update(lost=lost))
            watch.start()
            reason = self._relay(process, watch)
            watch.end()
            code = process.wait()
            failed = code != 0 and not (reason or self._stopping)
            return self._finish(code, self._explain(code, watch.conclude()) if failed else reason)

    def notify(self, line):
        """Write a message of flambe-run to the job's log."""
        with self._lock:
            self._journal.report()
            self._journal.print(_OWN + line)
            self._log.write(f"{_OWN}{line}\n".encode())
            self._log.flush()

    def _spawn(self):
        """Start the command in a new session."""
        spec = self._spec
        streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
        environment = {**os.environ, **spec.get("environment", {})}
        return subprocess.Popen(
            spec["command"], cwd=spec["directory"], env=environment, start_new_session=True, **streams
        )

    def _relay(self, process, watch):
        """Forward the output until the command has ended; return why it was ended, or ""."""
        reason, killing, ended, closed = "", None, None, False
        with selectors.DefaultSelector() as selector:
            selector.register(process.stdout, selectors.EVENT_READ)
            while ended is None or not (closed or time.monotonic() - ended > _DRAIN_SECONDS):
                if closed:
                    time.sleep(_LOOK_SECONDS)
                elif selector.select(_LOOK_SECONDS):
                    closed = not self._forward(os.read(process.stdout.fileno(), 65536))
                clock = time.monotonic()
                if process.poll() is not None:
                    ended = ended or clock
                elif killing is None and (self._stopping or watch.verdict):
                    reason = "" if self._stopping else watch.verdict
                    self.notify(reason or "stopping")
                    killing = clock + self._settings.stop_grace
                    signal_group(process, signal.SIGTERM)
                elif killing is not None and clock > killing:
                    signal_group(process, signal.SIGKILL)
        signal_group(process, signal.SIGKILL)
        self._print(self._lines.end())
        return reason

    def _forward(self, chunk):
        """Write output unchanged to the log, and as clean lines to the journal; return False at the end."""
        if not chunk:
            return False
        with self._lock:
            self._log.write(chunk)
            self._log.flush()
            self._print(self._lines.feed(chunk))
        return True

    def _print(self, lines):
        self._tail.extend(lines)
        self._causes.feed(lines)
        self._journal.write(lines)

    def _finish(self, code, reason):
        """Record how the job ended; return the unit's exit code."""
        request = self._settings.load("request")
        if self._stopping:
            state, reason = request.get("state", "stopped"), request.get("reason", "the unit was stopped")
        elif code == 0 and not reason:
            state = "succeeded"
        else:
            state = "failed"
        self._settings.update(state=state, until=now(), exit_code=code, reason=reason)
        self.notify(state + (f": {reason}" if reason else ""))
        if state == "failed":
            return code if code and 0 < code < 256 else 1
        return 0

    def _explain(self, code, lost):
        """Return why it failed: the exit code, its last error, and the hosts that were lost before."""
        cause = self._causes.explain(self._tail)
        what = f"exit code {code}" if code >= 0 else f"killed by signal {-code}"
        without = " (lost before: {})".format(", ".join(lost)) if lost else ""
        return (f"{what}: {cause}" if cause else what) + without


def open_private(path):
    """Create a new binary file that only its owner can read."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")


def signal_group(process, number):
    """Send a signal to the process group of the command."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, number)
