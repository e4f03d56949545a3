"""Files that modules write: atomically, and with their final mode from the start."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import stat
import tempfile


def read(path):
    """Read a text file; None if it does not exist."""
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            return file.read()
    except (FileNotFoundError, NotADirectoryError):
        return None


def read_json(path):
    """Read a JSON object; {} if the file is missing or holds anything else."""
    try:
        document = json.loads(read(path) or "{}")
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}


def as_json(document):
    """Write a JSON document for people and programs."""
    return json.dumps(document, indent=1, sort_keys=True) + "\n"


def digest(document):
    """Return the SHA-256 of a JSON document."""
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()


def write(path, content, mode, owner=None):
    """Write a file (text or bytes) atomically; at no moment is it incomplete or more open than ``mode``.

    ``owner`` is a pair of user and group ids.
    """
    data = content if isinstance(content, bytes) else content.encode("utf-8", "surrogateescape")
    handle, draft = tempfile.mkstemp(prefix=".flambe-", dir=os.path.dirname(path))
    try:
        with os.fdopen(handle, "wb") as file:
            os.fchmod(file.fileno(), mode)
            if owner:
                os.fchown(file.fileno(), *owner)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(draft, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(draft)
        raise


def ensure(path, text, mode, dry=False):
    """Write a file unless it has this text and mode and belongs to this user; return whether it changes."""
    changed = not belongs(path) or mode_of(path) != mode or read(path) != text
    if changed and not dry:
        write(path, text, mode)
    return changed


def belongs(path):
    """Return whether a path is a file, no pipe or folder, and belongs to the user that this process acts as."""
    try:
        info = os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return False
    return stat.S_ISREG(info.st_mode) and info.st_uid == os.geteuid()


def give_back(path, uid, gid):
    """Give a file of another user to a user, as root; return whether that was needed. Links are left alone."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return False
    try:
        info = os.fstat(handle)
        needed = stat.S_ISREG(info.st_mode) and info.st_nlink == 1 and info.st_uid != uid
        if needed:
            os.fchown(handle, uid, gid)
    finally:
        os.close(handle)
    return needed


def give_back_folders(path, uid, gid):
    """Give a folder and all folders below it to a user, as root; files can then be replaced. Links are not followed."""
    for folder, _names, _files in os.walk(path):
        if os.lstat(folder).st_uid != uid:
            os.chown(folder, uid, gid, follow_symlinks=False)


def printable(text):
    """Return a text without the bytes that are no UTF-8, which Ansible refuses in results."""
    return text.encode("utf-8", "backslashreplace").decode()


def ensure_folder(path, mode, dry=False):
    """Create a folder, or close one that others can write to."""
    if dry or (os.path.isdir(path) and not mode_of(path) & 0o022):
        return
    os.makedirs(path, mode=mode, exist_ok=True)
    os.chmod(path, mode)


def mode_of(path):
    """Return a file's permission bits; None if it does not exist."""
    try:
        return stat.S_IMODE(os.stat(path).st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return None


def begin(name):
    """Return the first line of a managed block."""
    return f"# {name}: begin (managed, edits are lost)"


def end(name):
    """Return the last line of a managed block."""
    return f"# {name}: end"


def split_block(text, name):
    """Split a text into (lines outside the managed block, lines inside it)."""
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
    """Replace the managed block of a text, or append it; all other lines are unchanged."""
    outside, _block = split_block(text, name)
    block = [begin(name), *lines, end(name)] if lines else []
    return "".join(line + "\n" for line in outside + block)
