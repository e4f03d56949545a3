"""Print the log of the last job, until the reader goes away."""

from __future__ import annotations

import contextlib
import os
import select
import sys
import time

import controlling
from text import Lines

_LOOK_SECONDS = 0.5
_ASK_SECONDS = 3.0
_BLOCK = 65536


def show(settings, follow, lines):
    """Print the lines of the last job, with ``follow`` until it ends; return the exit code."""
    found = controlling.describe(settings)
    if found["state"] == "none":
        sys.stderr.write("no job has been started yet\n")
        return 1
    while follow and found["active"] and found["state"] == "queued":
        time.sleep(_LOOK_SECONDS)
        found = controlling.describe(settings)
    follow = follow and found["active"]
    with contextlib.suppress(FileNotFoundError, BrokenPipeError), open(found["log"], "rb") as file:
        reader = _print_last(file, lines) if lines else _print_all(file)
        if follow:
            _follow(settings, found["id"], file, reader)
        else:
            _print(reader.end())
    return 0


def _print_all(file):
    """Print the complete lines of a file; return the reader, which has the incomplete last line."""
    reader = Lines()
    for chunk in iter(lambda: file.read(_BLOCK), b""):
        _print(reader.feed(chunk))
    return reader


def _print_last(file, count):
    """Print the last lines of a file, which is read from its end; return the reader, as ``_print_all``."""
    size, window = file.seek(0, os.SEEK_END), _BLOCK
    while True:
        start = max(0, size - window)
        file.seek(start)
        reader = Lines()
        found = reader.feed(file.read(size - start))
        if not start or len(found) > count:  # the first line may be incomplete
            count -= reader.has_rest
            _print(found[-count:] if count else [])
            return reader
        window *= 4


def _follow(settings, run, file, reader):
    """Print new lines until the job ends, another one starts, or stdout is closed."""
    gone = select.poll()
    gone.register(sys.stdout.fileno(), 0)  # reports only a closed reader
    asked = time.monotonic()
    while not gone.poll(_LOOK_SECONDS * 1000):
        chunk = file.read()
        _print(reader.feed(chunk))
        if chunk or time.monotonic() - asked < _ASK_SECONDS:
            continue
        asked = time.monotonic()
        found = controlling.describe(settings)
        if found.get("id") != run or not found["active"]:
            _print(reader.feed(file.read()) + reader.end())
            return


def _print(lines):
    sys.stdout.write("".join(line + "\n" for line in lines))
    sys.stdout.flush()
