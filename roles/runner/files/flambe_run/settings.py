"""What the role told, and the files in which a run is kept: they outlive the run, the login and a reboot."""

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
        folder: Where the files below are kept; the user's alone.
        unit: The unit of the run.
        ray_unit: The unit of Ray, on all hosts.
        ray_nodes: The command that asks Ray for its nodes.
        key: The key by which the hosts reach each other.
        watch_interval: Seconds between two looks at the hosts.
        lost_timeout: Seconds without progress, after a host was lost, until the run is ended.
        stop_grace: Seconds between asking a run to end and killing it.
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
        """Read the file that the role wrote."""
        with open(path, encoding="utf-8") as file:
            return cls(json.load(file))

    def load(self, name):
        """Read one of the run's documents; empty where there is none."""
        try:
            with open(os.path.join(self.folder, name + ".json"), encoding="utf-8") as file:
                document = json.load(file)
        except (FileNotFoundError, ValueError):
            return {}
        return document if isinstance(document, dict) else {}

    def save(self, name, document):
        """Write one of the run's documents (0600) in one step."""
        handle, draft = tempfile.mkstemp(prefix=name, dir=self.folder)
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump(document, file, indent=1)
            file.flush()
            os.fsync(file.fileno())
        os.replace(draft, os.path.join(self.folder, name + ".json"))

    def update(self, **changes):
        """Change the state of the run, and return all of it."""
        with self.locked("state"):
            state = {**self.load("state"), **changes}
            self.save("state", state)
        return state

    def forget(self, name):
        """Remove one of the run's documents."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(os.path.join(self.folder, name + ".json"))

    @contextlib.contextmanager
    def locked(self, name):
        """Hold a lock against other processes and threads of this user; wait for them."""
        descriptor = os.open(os.path.join(self.folder, "." + name + ".lock"), os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)


def now():
    """Say what time it is: ISO 8601, UTC, to the second."""
    return write_time(time.time())


def write_time(seconds):
    """Write a time of the epoch the same way."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))
