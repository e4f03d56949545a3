"""Start a job: check it, receive its working folder, hand its entry point to Ray."""

from __future__ import annotations

import os
import re
import secrets
import shutil
import time

from flambe_ray_jobs import ray_api, states, working
from flambe_ray_jobs.records import Record, list_records
from flambe_ray_jobs.settings import JobError, now, read_boot, unreserved

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def prepare(settings, job):
    """Check what can be checked before anything is sent; return the job's id and where its files go.

    ``job``: ``name`` (or ""), ``command`` (words), ``path`` (its PATH, or ""), ``source`` (the folder that is sent, and
    its machine). ``mirror`` in the answer is the folder with the files of an earlier job from there, or "".
    """
    name = job.get("name") or ""
    if name and not _NAME.fullmatch(name):
        raise JobError(f"{name!r} is not a name: use letters, digits, dots, dashes and underscores", "invalid")
    with unreserved(settings), settings.locked():
        _check_free(settings, name)
    _check_command(settings, job["command"][0], job.get("path") or "")
    ray_api.check(settings)
    working.clean(settings)
    record = Record(os.path.join(settings.folder, working.INCOMING, f"{name or 'job'}-{secrets.token_hex(3)}"))
    os.makedirs(record.work, mode=0o700)
    return {"id": record.id, "work": record.work, "mirror": working.find_mirror(settings, job["source"])}


def submit(settings, job):
    """Start a prepared job.

    ``job``: ``id``, ``name``, ``submitter``, ``command``, ``workdir`` (the folder it was sent from), ``source``,
    ``results`` (relative to its working folder, or ""), ``env`` (a mapping), and ``directory``, another folder of this
    host in which the command runs, or "".
    """
    incoming = Record(os.path.join(settings.folder, working.INCOMING, os.path.basename(job["id"])))
    record = Record(os.path.join(settings.folder, incoming.id))
    if not os.path.isdir(incoming.work):
        raise JobError(f"{incoming.id} was not prepared, or its files were removed", "unknown")
    incoming.save("env", job["env"])
    working.record_files(incoming)
    description = {name: job[name] for name in ("name", "submitter", "command", "workdir", "results")}
    description["directory"] = job.get("directory") or ""
    started = {"submitted": now(), "clock": time.time(), "boot": read_boot()}
    try:
        with unreserved(settings), settings.locked():
            _check_free(settings, job["name"])
            incoming.save("job", {**description, **started, "env": sorted(job["env"])})
            os.rename(incoming.folder, record.folder)
            ray_api.submit(settings, record.id)
    except JobError:  # nothing is left of a job that did not start
        for one in (incoming, record):
            shutil.rmtree(one.folder, ignore_errors=True)
        raise
    if not description["directory"]:
        working.keep_mirror(settings, record, job["source"])
    working.link_boards(settings, record, description)
    return states.describe(settings, record)


def _check_free(settings, name):
    """Fail if a job of this name is active."""
    for record in list_records(settings) if name else ():
        if record.load("job").get("name") == name and not record.load("end"):
            found = states.describe(settings, record)
            if found["active"]:
                raise JobError(f"a job named {name} is {found['state']}: {record.id}, since {found['since']}", "name")


def _check_command(settings, word, path):
    """Fail if the command does not exist on this host; a relative path is one in the working folder."""
    if "/" in word and not os.path.isabs(word):
        return
    if not shutil.which(word, path=path or settings.path):
        raise JobError(f"command not found: {word}", "command")
