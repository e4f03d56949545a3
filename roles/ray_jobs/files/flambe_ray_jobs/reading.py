"""Print the output of a job as it was written, until the reader goes away."""

from __future__ import annotations

import contextlib
import os
import select
import sys
import time

from flambe_ray_jobs import records, states

_LOOK_SECONDS = 0.1
_SOON_SECONDS = 0.02  # while a job starts
_ASK_SECONDS = 1.0
_BLOCK = 65536


def show(settings, word, follow=False, offset=0):
    """Print the output of a job from an offset in bytes, with ``follow`` until it ends."""
    record = records.find(settings, word)
    out = sys.stdout.buffer
    with contextlib.suppress(BrokenPipeError):
        if follow:
            _wait_for_log(settings, record, out)
        if not os.path.exists(record.log):
            return
        with open(record.log, "rb") as file:
            file.seek(offset)
            _copy(file, out)
            if follow:
                _follow(settings, record, file, out)


def read_last(path, lines):
    """Return the last lines of a file, without line ends, and where they begin; none if there is no file."""
    try:
        with open(path, "rb") as file:
            start = file.seek(_find_start(file, lines))
            return file.read().decode("utf-8", "replace").splitlines(), start
    except FileNotFoundError:
        return [], 0


def _find_start(file, lines):
    """Return where the last lines of a file begin; it is read from its end."""
    size = position = file.seek(0, os.SEEK_END)
    found = 0
    while position > 0:
        start = max(0, position - _BLOCK)
        file.seek(start)
        block = file.read(position - start)
        at = block.rfind(b"\n")
        while at >= 0:
            found += start + at + 1 < size  # not the end of the last line
            if found == lines:
                return start + at + 1
            at = block.rfind(b"\n", 0, at)
        position = start
    return 0


def _wait_for_log(settings, record, out):
    """Wait until a job has written its log, has ended, or the reader is gone."""
    asked = time.monotonic()
    while not os.path.exists(record.log) and not _is_gone(out, _SOON_SECONDS):
        if time.monotonic() - asked > _ASK_SECONDS:
            asked = time.monotonic()
            if not states.describe(settings, record)["active"]:
                return


def _follow(settings, record, file, out):
    """Print new output until the job ends or the reader is gone."""
    asked = 0.0
    while not _is_gone(out):
        if _copy(file, out) or time.monotonic() - asked < _ASK_SECONDS:
            continue
        asked = time.monotonic()
        if not states.describe(settings, record)["active"]:
            _copy(file, out)
            return


def _copy(file, out):
    """Print what was added to a file; return whether there was something."""
    size = 0
    for block in iter(lambda: file.read(_BLOCK), b""):
        out.write(block)
        size += len(block)
    out.flush()
    return size > 0


def _is_gone(out, seconds=_LOOK_SECONDS):
    """Wait a moment; return whether the reader of the output is gone."""
    poller = select.poll()
    poller.register(out.fileno(), 0)  # reports only a closed reader
    return bool(poller.poll(seconds * 1000))
