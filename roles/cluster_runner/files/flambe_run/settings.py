"""The role's settings, and the files of a job; they survive the job, the login and a reboot."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import tempfile
import time


class Settings:
    """The role's settings."""

    def __init__(self, values):
        self.folder = values["folder"]  # of the job's files; only the user can access it
        self.unit = values["unit"]  # of the job
        self.ray_unit = values["ray_unit"]  # on all hosts
        self.ray_nodes = values["ray_nodes"]  # the command that prints Ray's nodes
        self.key = values["key"]  # the private key for SSH between the hosts
        self.watch_interval = float(values["watch_interval"])  # seconds between two checks of the hosts
        self.lost_timeout = float(values["lost_timeout"])  # seconds without progress after the loss of a host
        self.stop_grace = float(values["stop_grace"])  # seconds between SIGTERM and SIGKILL

    def path(self, name):
        """Return the path of one of the job's documents."""
        return os.path.join(self.folder, name + ".json")

    def load(self, name):
        """Read one of the job's documents; {} if there is none."""
        with contextlib.suppress(FileNotFoundError, ValueError), open(self.path(name), encoding="utf-8") as file:
            document = json.load(file)
            return document if isinstance(document, dict) else {}
        return {}

    def save(self, name, document):
        """Write one of the job's documents (0600) atomically."""
        handle, draft = tempfile.mkstemp(prefix=name, dir=self.folder)
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump(document, file, indent=1)
            file.flush()
            os.fsync(file.fileno())
        os.replace(draft, self.path(name))

    def update(self, **changes):
        """Change fields of the job's state."""
        with self.locked("state"):
            self.save("state", {**self.load("state"), **changes})

    def forget(self, name):
        """Remove one of the job's documents."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.path(name))

    @contextlib.contextmanager
    def locked(self, name):
        """Hold a lock between processes and threads of this user; wait for it."""
        descriptor = os.open(os.path.join(self.folder, "." + name + ".lock"), os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)


def read_boot():
    """Return the id of this boot of the host, "" if it is unknown."""
    with contextlib.suppress(OSError), open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        return file.read().strip()
    return ""


def now():
    """Return the current time: ISO 8601, UTC, to the second."""
    return write_time(time.time())


def write_time(seconds):
    """Format seconds since the epoch as ISO 8601, UTC."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))
