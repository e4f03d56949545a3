"""The role's settings, and small JSON documents that are written atomically."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import tempfile
import time

_HOLDER = {"who": "another user", "what": "a command", "since": "just now"}


class JobError(Exception):
    """A command failed. ``kind`` is one word for programs, ``facts`` are added to the document with the message."""

    def __init__(self, message, kind, **facts):
        super().__init__(message)
        self.kind = kind
        self.facts = facts


class Settings:
    """The role's settings; paths may begin with ``~``."""

    def __init__(self, values):
        self.program = values["program"]  # the command of this program
        self.folder = os.path.expanduser(values["folder"])  # of the jobs; only the user can access it
        self.boards = os.path.expanduser(values["boards"])  # of links to what TensorBoard shows
        self.runtime = values["runtime"]  # the virtual environment with Ray
        self.dashboard = values["dashboard"]  # the address of Ray's dashboard, which serves the Jobs API
        self.token = os.path.expanduser(values["token"])  # the file with Ray's token
        self.ray_unit = values["ray_unit"]  # on all hosts
        self.key = os.path.expanduser(values["key"])  # the private key for SSH between the hosts
        self.reservation = values["reservation"]  # the file that a launch locks while it changes the cluster
        self.stop_grace = int(values["stop_grace"])  # seconds between SIGTERM and SIGKILL

    @property
    def path(self):
        """The search path of jobs: the environment with Ray, then the system's folders."""
        return f"{self.runtime}/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

    @contextlib.contextmanager
    def locked(self, name=".lock"):
        """Hold a lock between processes of this user; wait for it."""
        os.makedirs(self.folder, mode=0o700, exist_ok=True)
        descriptor = os.open(os.path.join(self.folder, name), os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)


@contextlib.contextmanager
def unreserved(settings):
    """Keep launches from reserving the cluster for a moment; fail if one has reserved it."""
    try:
        descriptor = os.open(settings.reservation, os.O_RDONLY | os.O_NOFOLLOW)
    except FileNotFoundError:
        yield
        return
    try:
        _share(settings, descriptor)
        yield
    finally:
        os.close(descriptor)


def _share(settings, descriptor):
    """Lock the file of the reservation as one of several readers."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = load(settings.reservation)
        who, what, since = (str(holder.get(name) or other) for name, other in _HOLDER.items())
        message = f"the cluster is reserved by {who}: {what} is running there since {since}; nothing was started"
        raise JobError(message, "held") from None


def load(path):
    """Read a JSON document; {} if there is none, or if it is not a mapping."""
    with contextlib.suppress(OSError, ValueError), open(path, encoding="utf-8") as file:
        document = json.load(file)
        return document if isinstance(document, dict) else {}
    return {}


def save(path, document):
    """Write a JSON document (0600) atomically."""
    handle, draft = tempfile.mkstemp(prefix=".new-", dir=os.path.dirname(path))
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        json.dump(document, file, indent=1)
        file.flush()
        os.fsync(file.fileno())
    os.replace(draft, path)


def read_boot():
    """Return the id of this boot of the host, "" if it is unknown."""
    with contextlib.suppress(OSError), open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        return file.read().strip()
    return ""


def now():
    """Return the current time: ISO 8601, UTC, to the second."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
