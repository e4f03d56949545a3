"""The entry point of a job: run its command, write its output to the log, record how it ended."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import time

from flambe_ray_jobs import evidence, records, working
from flambe_ray_jobs.reading import read_last
from flambe_ray_jobs.settings import now

_NOT_FOUND = 127
_PR_SET_PDEATHSIG = 1


def run(settings, job):
    """Run the command of a job; return its exit code, 128 and the signal's number after a signal."""
    record = records.get(settings, job)
    if record.load("request") or record.load("end"):  # it was stopped before it started
        return 128 + signal.SIGTERM
    asked = []  # the reasons for SIGTERM; Ray and systemd send it to the command too
    signal.signal(signal.SIGTERM, lambda *_: asked.append(evidence.explain_termination(settings)))
    clock = time.time()
    record.save("began", {"since": now(), "clock": clock, **evidence.describe_process(settings)})
    _link_log(record)
    log = os.open(record.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        process = _spawn(settings, record, log)
    except OSError as error:
        command = record.load("job")["command"][0]
        reason = f"{command}: {error.strerror}"
        os.write(log, f"{reason}\n".encode())
        working.finish(record, {"state": "failed", "exit_code": _NOT_FOUND, "reason": reason})
        return _NOT_FOUND
    code = process.wait()
    end = _explain(record, process.pid, code, asked)
    working.finish(record, end)
    return end["exit_code"]


def _spawn(settings, record, log):
    """Start the command without a shell. It ends with this process, even if this one is killed."""
    given, job = record.load("env"), record.load("job")
    environment = {
        **os.environ,
        "PATH": settings.path,
        "VIRTUAL_ENV": settings.runtime,
        "FLAMBE_JOB_ID": record.id,
        **given,
    }
    libc = ctypes.CDLL(None)
    return subprocess.Popen(
        job["command"],
        cwd=record.find_directory(job),
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        preexec_fn=lambda: libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL),
    )


def _explain(record, pid, code, asked):
    """Return how the command ended."""
    began = record.load("began")
    exit_code = code if code >= 0 else 128 - code
    if record.load("request"):
        return {"state": "stopped", "exit_code": exit_code, "reason": "stopped by a user"}
    if code == 0:
        return {"state": "succeeded", "exit_code": 0, "reason": ""}
    if asked:
        reason = asked[0]
        if not reason:
            return {"state": "stopped", "exit_code": exit_code, "reason": "stopped through Ray's Jobs API"}
    elif code < 0:
        reason = evidence.explain_signal(-code, pid, began["clock"], began["oom_kills"])
    elif code == 128 + signal.SIGKILL and evidence.has_new_oom_kills(began["oom_kills"]):  # a shell's command
        reason = evidence.OUT_OF_MEMORY
    else:
        last = [line for line in read_last(record.log, 5)[0] if line.strip()]
        reason = f"exit code {code}" + (f"; last line: {last[-1].strip()}" if last else "")
    return {"state": "failed", "exit_code": exit_code, "reason": reason}


def _link_log(record):
    """Replace Ray's own log of this entry point by a link to the record's log, so that Ray shows it too."""
    with contextlib.suppress(OSError):
        path = os.readlink("/proc/self/fd/1")
        if os.path.basename(path) == f"job-driver-{record.id}.log":
            os.symlink(record.log, f"{path}.new")
            os.replace(f"{path}.new", path)
