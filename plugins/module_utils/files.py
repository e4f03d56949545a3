"""Files that modules keep: written whole, with their final mode from the first moment on."""

from __future__ import annotations

import contextlib
import os
import stat
import tempfile


def read(path):
    """Read a text file; None where there is none."""
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            return file.read()
    except (FileNotFoundError, NotADirectoryError):
        return None


def write(path, text, mode):
    """Put a file in place in one step; nobody ever sees half of it, or more open than ``mode``."""
    folder = os.path.dirname(path)
    handle, draft = tempfile.mkstemp(prefix=".flambe-", dir=folder)
    try:
        with os.fdopen(handle, "w", encoding="utf-8", errors="surrogateescape") as file:
            os.fchmod(file.fileno(), mode)
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(draft, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(draft)
        raise


def ensure(path, text, mode, dry=False):
    """Bring a file to this text and mode; return whether that changed, or would change, anything."""
    if read(path) == text and mode_of(path) == mode:
        return False
    if not dry:
        write(path, text, mode)
    return True


def ensure_folder(path, mode, dry=False):
    """Bring a folder to existence; one that exists keeps its mode unless others could write there."""
    if os.path.isdir(path):
        if not mode_of(path) & 0o022:
            return False
        if not dry:
            os.chmod(path, mode)
        return True
    if not dry:
        os.makedirs(path, mode=mode)
        os.chmod(path, mode)
    return True


def mode_of(path):
    """Tell a file's permission bits; None where there is none."""
    try:
        return stat.S_IMODE(os.stat(path).st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return None


def begin(name):
    """Write the first line of a managed block."""
    return f"# {name}: begin (managed, edits are lost)"


def end(name):
    """Write the last line of a managed block."""
    return f"# {name}: end"


def split_block(text, name):
    """Take a text apart into (lines outside of the managed block, lines inside of it)."""
    outside, inside, within = [], [], False
    for line in (text or "").splitlines():
        if line == begin(name):
            within = True
        elif line == end(name):
            within = False
        else:
            (inside if within else outside).append(line)
    return outside, inside


def with_block(text, name, lines):
    """Replace the managed block of a text, or append it; all other lines stay as they are."""
    outside, _ = split_block(text, name)
    block = [begin(name), *lines, end(name)] if lines else []
    joined = outside + block
    return "\n".join(joined) + "\n" if joined else ""
