"""The role's settings, and the files of a job; they survive the job, the login and a reboot."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import tempfile
import time


class Settings:
    """The role's settings.

    Attributes:
        folder: The folder of the job's files; only the user can access it.
        unit: The unit of the job.
        ray_unit: The unit of Ray on all hosts.
        ray_nodes: The command that prints Ray's nodes.
        key: The private key for SSH between the hosts.
        watch_interval: Seconds between two checks of the hosts.
        lost_timeout: Seconds without progress, after a host was lost, until the job is ended.
        stop_grace: Seconds between SIGTERM and SIGKILL when a job is stopped.
    """

    def __init__(self, values):
        self.folder = values["folder"]
        self.unit = values["unit"]
        self.ray_unit = values["ray_unit"]
        self.ray_nodes = values["ray_nodes"]
        self.key = values["key"]
        self.watch_interval = float(values["watch_interval"])
        self.lost_timeout = float(values["lost_timeout"])
        self.stop_grace = float(values["stop_grace"])

    @classmethod
    def read(cls, path):
        """Read the file written by the role."""
        with open(path, encoding="utf-8") as file:
            return cls(json.load(file))

    def load(self, name):
        """Read one of the job's documents; {} if there is none."""
        try:
            with open(os.path.join(self.folder, name + ".json"), encoding="utf-8") as file:
                document = json.load(file)
        except (FileNotFoundError, ValueError):
            return {}
        return document if isinstance(document, dict) else {}

    def save(self, name, document):
        """Write one of the job's documents (0600) atomically."""
        handle, draft = tempfile.mkstemp(prefix=name, dir=self.folder)
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump(document, file, indent=1)
            file.flush()
            os.fsync(file.fileno())
        os.replace(draft, os.path.join(self.folder, name + ".json"))

    def update(self, **changes):
        """Change fields of the job's state; return the whole state."""
        with self.locked("state"):
            state = {**self.load("state"), **changes}
            self.save("state", state)
        return state

    def forget(self, name):
        """Remove one of the job's documents."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(os.path.join(self.folder, name + ".json"))

    @contextlib.contextmanager
    def locked(self, name):
        """Hold a lock between processes and threads of this user; wait for it."""
        descriptor = os.open(os.path.join(self.folder, "." + name + ".lock"), os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)


def now():
    """Return the current time: ISO 8601, UTC, to the second."""
    return write_time(time.time())


def write_time(seconds):
    """Format seconds since the epoch as ISO 8601, UTC."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))
