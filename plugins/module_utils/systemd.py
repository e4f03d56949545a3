"""One systemd unit: its file, its state through systemctl, its log through journalctl."""

from __future__ import annotations

import calendar
import os
import subprocess
import time

from ansible_collections.flambe.cluster.plugins.module_utils import files

RUNNING = ("active", "activating", "reloading")
_PROPERTIES = (
    "ActiveState,SubState,Result,InvocationID,UnitFileState,NeedDaemonReload,"
    "ExecMainStartTimestamp,InactiveExitTimestamp"
)


class SystemdError(Exception):
    """systemctl failed."""


class Systemd:
    """One unit.

    Attributes:
        actions: What was done, or would be.
        diff: The unit file before and after, if it changes.
    """

    def __init__(self, unit, dry=False):
        self.unit = unit
        self.path = os.path.join("/etc/systemd/system", unit)
        self.dry = dry
        self.actions = []
        self.diff = {}

    def show(self):
        """Read the unit's properties."""
        output = self.call("show", "--property", _PROPERTIES, self.unit, check=False)
        return dict(line.split("=", 1) for line in output.splitlines() if "=" in line)

    def put(self, text, enabled, needs=()):
        """Write the unit file, reload systemd and enable the unit, as far as needed.

        Args:
            text: The wanted unit file.
            enabled: Whether to enable the unit.
            needs: Paths of further files that the process reads when it starts.

        Returns:
            Whether a running process is outdated: the file changes now, or changed after the process started, because
            an earlier run was interrupted before the restart.
        """
        state = self.show()
        before = files.read(self.path)
        changed = before != text
        outdated = changed or is_outdated(state, [self.path, *needs])
        if changed:
            self.actions.append(f"write {self.path}")
            headers = {"before_header": self.path, "after_header": self.path}
            self.diff = {**headers, "before": before or "", "after": text}
        enables = enabled and state.get("UnitFileState") != "enabled"
        if enables:
            self.actions.append(f"enable {self.unit}")
        if self.dry:
            return outdated
        if changed:
            files.write(self.path, text, 0o644)
        if changed or state.get("NeedDaemonReload") == "yes":
            self.call("daemon-reload")
        if enables:
            self.call("enable", "--quiet", self.unit)
        return outdated

    def restart(self, *options):
        """Start or restart the unit, also after a failure."""
        self.call("reset-failed", self.unit, check=False)
        self.call("restart", *options, self.unit)

    def call(self, *argv, check=True):
        """Run systemctl; return its output."""
        done = subprocess.run(
            ["systemctl", *argv],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={**os.environ, "LC_ALL": "C", "TZ": "UTC"},  # for timestamps that read_time understands
            check=False,
        )
        output = done.stdout.decode("utf-8", "replace")
        if done.returncode and check:
            raise SystemdError("systemctl {} failed: {}".format(" ".join(argv), output.strip()))
        return output

    def log(self, lines=20):
        """Read the last lines of the unit's journal."""
        done = subprocess.run(
            ["journalctl", "--unit", self.unit, "--lines", str(lines), "--no-pager", "--output", "short-iso"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            check=False,
        )
        text = done.stdout.decode("utf-8", "replace").strip()
        return "" if text == "-- No entries --" else text


def is_outdated(state, paths):
    """Return whether a running unit was started before one of these files was last written.

    Times are compared to the second, the precision of systemctl. A file from the future proves nothing: the clock was
    set back since.

    Args:
        state: The unit's properties (``Systemd.show``).
        paths: The unit file, and what its process reads when it starts.
    """
    if state.get("ActiveState") not in RUNNING:
        return False
    if state.get("NeedDaemonReload") == "yes":
        return True
    # A unit that waits in ExecStartPre= has no main process yet.
    started = max(read_time(state.get(name, "")) for name in ("ExecMainStartTimestamp", "InactiveExitTimestamp"))
    written = [int(os.stat(path).st_mtime) for path in paths if os.path.exists(path)]
    return started > 0 and any(started < one <= time.time() for one in written)


def read_time(text):
    """Parse a timestamp such as ``Sun 2026-11-29 20:03:41 UTC`` into seconds since the epoch; 0 if there is none."""
    try:
        return calendar.timegm(time.strptime(" ".join(text.split()[1:3]), "%Y-%m-%d %H:%M:%S"))
    except ValueError:
        return 0
