"""List, show and stop jobs."""

from __future__ import annotations

import os
import time

from flambe_ray_jobs import ray_api, records, states, working
from flambe_ray_jobs.reading import read_last
from flambe_ray_jobs.settings import JobError

_LOOK_SECONDS = 0.1
_STOP_SECONDS = 15  # beyond the grace


def list_all(settings):
    """Return all recorded jobs, the newest first, and Ray's active jobs without a record.

    ``error`` is why Ray does not answer, or "".
    """
    jobs = [states.describe(settings, record) for record in records.list_records(settings)]
    try:
        return {"jobs": jobs, "others": _list_others(settings, jobs), "error": ""}
    except JobError as error:
        return {"jobs": jobs, "others": [], "error": str(error)}


def find_running(settings):
    """Return the ids of the jobs that a restart of Ray would end; ``error``: why Ray's own list is unknown, or ""."""
    found = list_all(settings)
    ids = [one["id"] for one in (*found["jobs"], *found["others"]) if one.get("active", True)]
    return {"running": ids, "error": found["error"]}


def show(settings, word, lines=0):
    """Return one job, with the last lines of its output."""
    record = records.find(settings, word)
    document = states.describe(settings, record)
    if not lines:
        return document
    tail, offset = read_last(record.log, lines)
    return {**document, "tail": tail, "offset": offset}


def stop(settings, word):
    """Stop a job, and wait until it has ended. Without a word, the only one that runs."""
    record = records.find(settings, word) if word else _find_only(settings)
    before = states.describe(settings, record)
    if not before["active"]:
        return {"stopped": False, "job": before}
    record.save("request", {"state": "stopped"})
    try:
        ray_api.stop(settings, record.id)
    except JobError:  # it goes on
        os.unlink(record.path("request"))
        raise
    end = time.monotonic() + settings.stop_grace + _STOP_SECONDS
    while True:
        document = states.describe(settings, record)
        if not document["active"]:
            return {"stopped": True, "job": document}
        if time.monotonic() > end:
            raise JobError(
                f"{record.id} has not ended {settings.stop_grace + _STOP_SECONDS} s after it was stopped", "stop"
            )
        time.sleep(_LOOK_SECONDS)


def settle(settings):
    """Record how jobs ended that could not do so themselves, and remove old copies of working folders."""
    found = list_all(settings)
    working.clean(settings)
    working.clean_fetched(settings)
    return {"active": [one["id"] for one in found["jobs"] if one["active"]]}


def _find_only(settings):
    """Return the only active job, or the last one if none is active."""
    found = records.list_records(settings)
    active = [one for one in found if states.describe(settings, one)["active"]]
    if len(active) > 1:
        ids = ", ".join(one.id for one in active)
        raise JobError(f"several jobs are running: {ids}; name one", "several")
    return active[0] if active else records.find(settings, "")


def _list_others(settings, jobs):
    """Return Ray's active jobs that were not submitted with a record."""
    known = {one["id"] for one in jobs}
    return [one for one in ray_api.list_active(settings) if one["id"] not in known]
