"""The state of a job, derived from its record, its process and Ray."""

from __future__ import annotations

import contextlib
import time

from flambe_ray_jobs import evidence, ray_api, working
from flambe_ray_jobs.settings import JobError, now

_UNSEEN_SECONDS = 30  # that a submitted job may be unknown to Ray
ACTIVE = ("queued", "running")


def describe(settings, record):
    """Return a job as one document; its end is recorded if it could not do so itself."""
    job, began = record.load("job"), record.load("began")
    state = {"state": "running", "until": "", "exit_code": None, "reason": ""}
    end = record.load("end") or _find_end(settings, record, job, began)
    if end:
        state.update(end)
    elif not began:
        state["state"] = "queued"
    return {
        "id": record.id,
        "name": job.get("name", ""),
        "submitter": job.get("submitter", ""),
        "command": job.get("command", []),
        "since": began.get("since") or job["submitted"],
        **state,
        "active": state["state"] in ACTIVE,
        "workdir": job.get("workdir", ""),
        "env": job.get("env", []),
        "folder": record.find_directory(job),
        "results": job.get("results", ""),
        "log": record.log,
    }


def _find_end(settings, record, job, began):
    """Return how a job ended that recorded no end, and record it; {} if it has not ended."""
    if began and evidence.lives(began):
        return {}
    end = record.load("end")  # it may have ended meanwhile
    if end:
        return end
    if record.load("request"):
        return _record(record, state="stopped", reason="stopped by a user")
    if began:
        return _record(record, state="failed", reason=evidence.explain_loss(settings, began))
    return _find_early_end(settings, record, job)


def _find_early_end(settings, record, job):
    """Return how a job ended whose command was never started; {} if it may still start."""
    if job["boot"] != evidence.read_boot():
        return _record(record, state="failed", reason="the host was rebooted before it started")
    try:
        state, message = ray_api.get(settings, record.id)
    except JobError:
        return {}  # no answer: it may still start
    if record.load("began"):
        return {}
    if state == "failed":
        return _record(record, state="failed", reason=f"Ray could not start it: {message}")
    if state == "stopped":
        return _record(record, state="stopped", reason="stopped through Ray's Jobs API")
    if not state and time.time() - job["clock"] > _UNSEEN_SECONDS:
        return _record(record, state="failed", reason="Ray was restarted before it started")
    return {}


def _record(record, *, state, reason):
    end = {"state": state, "until": now(), "exit_code": None, "reason": reason}
    with contextlib.suppress(OSError):  # a full disk must not hide the state
        working.finish(record, end)
    return end
