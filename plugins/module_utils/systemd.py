"""One systemd unit, through systemctl and journalctl."""

from __future__ import annotations

import os
import subprocess


class SystemdError(Exception):
    """systemctl failed."""


class Systemd:
    """One unit, as systemctl sees it."""

    def __init__(self, unit):
        self.unit = unit
        self.path = os.path.join("/etc/systemd/system", unit)

    def show(self):
        """Read the unit's properties."""
        names = "ActiveState,SubState,Result,InvocationID,UnitFileState,NeedDaemonReload"
        output = self.call("show", "--property", names, self.unit, check=False)
        return dict(line.split("=", 1) for line in output.splitlines() if "=" in line)

    def call(self, *argv, **options):
        """Run systemctl."""
        done = subprocess.run(
            ["systemctl", *argv],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
        )
        output = done.stdout.decode("utf-8", "replace")
        if done.returncode and options.get("check", True):
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
