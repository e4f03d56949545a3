"""Ray's Python on every host for the workers of a job: in the job's working folder, with its environment variables.

A host copies the folder from the head when its first worker starts, so a host that joins later has it too.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import random
import shutil
import subprocess
import sys
import time

from flambe_ray_jobs import working
from flambe_ray_jobs.records import Record

_TRIES = 6
_HEAD_OPTION = "--gcs-address="


def start(settings, job, words):
    """Replace this process by the Python that Ray starts as a worker; ``words`` are its arguments."""
    record = Record(os.path.join(settings.folder, job))
    with settings.locked(".fetch.lock"):
        if not os.path.isdir(record.work):
            _fetch(settings, record, words)
        _hold(record)
    environment = {**os.environ, "FLAMBE_JOB_ID": job, **record.load("env")}
    # A worker with a working_dir of its own was started in it.
    if os.path.isdir(record.work) and "/runtime_resources/" not in os.getcwd():
        os.chdir(record.work)
    python = os.path.join(settings.runtime, "bin", "python")
    os.execve(python, [python, *words], environment)  # noqa: S606 - no shell is wanted


def _fetch(settings, record, words):
    """Copy the job's files from the head. If that fails, the worker starts without them, so that its error is seen."""
    working.clean_fetched(settings)
    head = next((word[len(_HEAD_OPTION) :].rpartition(":")[0] for word in words if word.startswith(_HEAD_OPTION)), "")
    draft = os.path.join(settings.folder, f".{record.id}.new")
    shell = f"ssh -i '{settings.key}' -o BatchMode=yes -o IdentitiesOnly=yes"
    argv = ["rsync", "--archive", "--no-owner", "--no-group", "--protect-args", "--rsh", shell, "--from0"]
    argv += [f"--files-from=:{record.files}", "--", f"{head}:{record.folder}/", f"{draft}/"]
    output = b""
    for attempt in range(_TRIES):
        shutil.rmtree(draft, ignore_errors=True)
        os.makedirs(os.path.join(draft, "work"), mode=0o700)
        streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
        done = subprocess.run(argv, check=False, **streams)
        if done.returncode == 0:
            os.rename(draft, record.folder)
            record.save("fetched", {"from": head})
            return
        output = done.stdout
        # The head's sshd refuses many logins at once.
        time.sleep(random.uniform(0.5, 1.5) * (attempt + 1))  # noqa: S311 - no secret
    reason = output.decode("utf-8", "replace").strip().partition("\n")[0]
    sys.stderr.write(f"ray-jobs: the files of {record.id} could not be copied from {head}: {reason}\n")


def _hold(record):
    """Mark the copy as used until this process ends; the lock stays with the Python that replaces it."""
    with contextlib.suppress(OSError):
        descriptor = os.open(os.path.join(record.folder, working.LOCK), os.O_RDWR | os.O_CREAT, 0o600)
        os.utime(record.folder)
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        os.set_inheritable(descriptor, True)
