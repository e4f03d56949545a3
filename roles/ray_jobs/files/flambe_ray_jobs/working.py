"""Working folders of jobs: which files were sent, what the next job can reuse, what is removed after the end."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import time

from flambe_ray_jobs.settings import now

LOCK = ".lock"  # in a copy of a job's files, held while a worker uses it
INCOMING = ".incoming"  # jobs that are being sent
_MIRRORS = ".mirrors"  # the files of the last job from each source
_MIRROR_SECONDS = 30 * 86400
_UNUSED_SECONDS = 86400


def record_files(record):
    """Record which files a job was sent: for the end of the job, and as rsync's list for other hosts."""
    sent, names = {}, ["env.json"]
    for current, _folders, files in os.walk(record.work):
        names.append(os.path.relpath(current, record.folder))
        for name in files:
            path = os.path.join(current, name)
            facts = os.lstat(path)
            sent[os.path.relpath(path, record.work)] = [facts.st_size, facts.st_mtime_ns]
            names.append(os.path.relpath(path, record.folder))
    record.save("sent", sent)
    with open(record.files, "wb") as file:
        file.write(b"".join(os.fsencode(name) + b"\0" for name in names))


def finish(record, end):
    """Record the end of a job; remove its environment variables, and the files that it has not changed."""
    record.save("end", {"until": now(), **end})
    for path in (record.path("env"), record.files):
        with contextlib.suppress(OSError):
            os.unlink(path)
    for name, facts in record.load("sent").items():
        path = os.path.join(record.work, name)
        with contextlib.suppress(OSError):
            found = os.lstat(path)
            if [found.st_size, found.st_mtime_ns] == facts:
                os.unlink(path)
    for current, _folders, _files in os.walk(record.work, topdown=False):
        with contextlib.suppress(OSError):  # it is not empty
            if current != record.work:
                os.rmdir(current)


def find_mirror(settings, source):
    """Return the folder with the files of the last job from this source, or ""."""
    path = _name_mirror(settings, source)
    return path if os.path.isdir(path) else ""


def keep_mirror(settings, record, source):
    """Make a job's files the mirror of its source. They are hard links: a file that the job changes is sent again."""
    target = _name_mirror(settings, source)
    draft = f"{target}.{record.id}"
    os.makedirs(draft, mode=0o700, exist_ok=True)
    for name in record.load("sent"):
        path = os.path.join(draft, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with contextlib.suppress(OSError):  # the job may have removed it; it is sent again
            os.link(os.path.join(record.work, name), path, follow_symlinks=False)
    with settings.locked(".mirrors.lock"):
        shutil.rmtree(target, ignore_errors=True)
        os.rename(draft, target)


def link_boards(settings, record, job):
    """Link Ray's results and those of a job into the folder that TensorBoard shows."""
    os.makedirs(settings.boards, mode=0o700, exist_ok=True)
    links = {"ray_results": os.path.expanduser("~/ray_results")}
    if job["results"]:
        links[record.id] = os.path.join(record.find_directory(job), job["results"])
    for name, target in links.items():
        with contextlib.suppress(FileExistsError):
            os.symlink(target, os.path.join(settings.boards, name))


def clean(settings):
    """Remove jobs that were never started, and mirrors that nobody has used for a long time."""
    for kind, seconds in ((INCOMING, _UNUSED_SECONDS), (_MIRRORS, _MIRROR_SECONDS)):
        for path in _list(os.path.join(settings.folder, kind)):
            _remove_older(path, seconds)


def clean_fetched(settings):
    """Remove copies of jobs' files on this host that no worker uses."""
    for path in _list(settings.folder):
        if os.path.exists(os.path.join(path, "fetched.json")) and not _is_used(path):
            _remove_older(path, _UNUSED_SECONDS)


def _list(folder):
    try:
        return [os.path.join(folder, name) for name in os.listdir(folder)]
    except FileNotFoundError:
        return []


def _remove_older(path, seconds):
    with contextlib.suppress(OSError):
        if time.time() - os.stat(path).st_mtime > seconds:
            shutil.rmtree(path)


def _is_used(path):
    """Return whether a process holds the lock of a folder."""
    try:
        with open(os.path.join(path, LOCK), "rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


def _name_mirror(settings, source):
    return os.path.join(settings.folder, _MIRRORS, hashlib.sha256(source.encode()).hexdigest()[:16])
