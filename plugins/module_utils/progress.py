"""What the running module does at the moment, in a file from which the launch reads it."""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import time

from ansible_collections.flambe.cluster.plugins.module_utils import account as accounts
from ansible_collections.flambe.cluster.plugins.module_utils import files

PATH = "/run/flambe-ans/progress.json"
_LENGTH = 200  # characters
_STARTED = time.time()


def report(text):
    """Publish what the module does, such as ``downloading 412 of 900 MB``; the file is removed when the module ends.

    Only root and the connecting user can read it: the output of commands may contain secrets. Errors are ignored,
    because a module must not fail for its progress. Without root nothing is written.
    """
    document = {"started": _STARTED, "text": clean(text)}
    with contextlib.suppress(OSError, KeyError):
        reader = accounts.find("")
        files.ensure_folder(os.path.dirname(PATH), 0o755)
        files.write(PATH, json.dumps(document) + "\n", 0o600, owner=(reader.pw_uid, reader.pw_gid))
        atexit.unregister(clear)
        atexit.register(clear)


def clear():
    """Remove the file."""
    with contextlib.suppress(OSError):
        os.unlink(PATH)


def clean(text):
    """Return a text as one short line of printable characters."""
    line = " ".join("".join(one if one.isprintable() else " " for one in text).split())
    return line if len(line) <= _LENGTH else line[: _LENGTH - 3] + "..."


def megabytes(done, total):
    """Write an amount of bytes, such as ``412 of 900 MB``."""
    return f"{done / 1e6:.0f} of {total / 1e6:.0f} MB"
