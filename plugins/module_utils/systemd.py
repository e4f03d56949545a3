"""One systemd unit: its file, its state through systemctl, its log through journalctl."""

from __future__ import annotations

import calendar
import collections
import os
import subprocess
import time

from ansible_collections.flambe.cluster.plugins.module_utils import account as accounts
from ansible_collections.flambe.cluster.plugins.module_utils import files

PROTECTED = "protected"  # the failed step of a module that refuses a change because a unit runs
RUNNING = ("active", "activating", "reloading")
RESTART_SECONDS = 30  # for a stop or restart that is in progress: systemd stops Ray within 15 s
_PROPERTIES = (
    "ActiveState,SubState,Result,InvocationID,UnitFileState,NeedDaemonReload,"
    "ExecMainStartTimestamp,InactiveExitTimestamp,NRestarts,Job"
)


class UnitError(Exception):
    """The unit does not run, or systemctl failed."""


class ProtectedError(Exception):
    """The unit runs, and must not be restarted or stopped."""

    def __init__(self, unit, reason, verb="restarted"):
        super().__init__(f"{unit} is running and would be {verb}: {reason}")


class Systemd:
    """One unit, with what was done, or would be if ``dry``: ``actions`` and ``diff`` (of the unit file)."""

    def __init__(self, unit, dry=False):
        self.unit = unit
        self.path = os.path.join("/etc/systemd/system", unit)
        self.dry = dry
        self.actions = []
        self.diff = {}
        self._written = collections.Counter()
        self._steps = []

    def note(self, action, written=""):
        """Record an action; the summary only counts what was ``written``: a file, a folder or the unit."""
        self.actions.append(action)
        if written:
            self._written[written] += 1
        else:
            self._steps.append(action)

    def summary(self):
        """Return the actions in one short sentence, such as ``write 4 files and the unit; start Ray``."""
        nouns = [accounts.count(number, noun) for noun, number in self._written.items() if noun != "unit"]
        nouns += ["the unit"] if self._written["unit"] else []
        written = ["write " + accounts.enumerate_words(nouns)] if nouns else []
        return "; ".join([*written, *self._steps]) or "nothing to do"

    def write(self, path, text, mode):
        """Write a file that the unit needs; return whether it changes."""
        changed = files.ensure(path, text, mode, dry=self.dry)
        if changed:
            self.note(f"write {path}", "file")
        return changed

    def show(self):
        """Read the unit's properties."""
        output = self.call("show", "--property", _PROPERTIES, self.unit, check=False)
        return dict(line.split("=", 1) for line in output.splitlines() if "=" in line)

    def show_settled(self, seconds=RESTART_SECONDS):
        """Read the unit's properties once no stop or restart is in progress, at most after so many seconds.

        A unit that is starting is not waited for.
        """
        deadline = time.monotonic() + seconds
        while True:
            state = self.show()
            if not is_restarting(state) or time.monotonic() > deadline:
                return state
            time.sleep(0.2)

    def protect(self, text, needs, find_reason):
        """Raise ProtectedError if the unit runs, and would be outdated with this text; the arguments are those of put.

        ``find_reason`` takes the present text of the unit and the wanted one.
        """
        state, before = self.show(), files.read(self.path)
        if state.get("ActiveState") == "active" and (before != text or is_outdated(state, [self.path, *needs])):
            raise ProtectedError(self.unit, find_reason(before, text))

    def protect_running(self, reason):
        """Raise ProtectedError if the unit runs."""
        if self.show().get("ActiveState") == "active":
            raise ProtectedError(self.unit, reason)

    def put(self, text, enabled, needs=()):
        """Write the unit file, reload systemd and enable the unit, as far as needed.

        Returns whether a running process is outdated: the unit file changes now, or it or one of ``needs`` (the files
        that the process reads when it starts) changed after the process started, because an earlier run was interrupted
        before the restart.
        """
        state = self.show()
        before = files.read(self.path)
        changed = before != text
        outdated = changed or is_outdated(state, [self.path, *needs])
        if changed:
            self.note(f"write {self.path}", "unit")
            headers = {"before_header": self.path, "after_header": self.path}
            self.diff = {**headers, "before": files.printable(before or ""), "after": text}
        elif files.mode_of(self.path) != 0o644 or not files.belongs(self.path):
            self.note(f"restore the mode and owner of {self.path}")
            if not self.dry:
                os.chown(self.path, os.geteuid(), os.getegid())
                os.chmod(self.path, 0o644)
        enables = enabled and state.get("UnitFileState") != "enabled"
        if enables:
            self.note(f"enable {self.unit}", "unit" if changed else "")
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

    def remove(self):
        """Stop and disable the unit, and remove its file."""
        if not os.path.exists(self.path):
            return
        self.note(f"remove {self.unit}")
        if not self.dry:
            self.call("disable", "--now", "--quiet", self.unit, check=False)
            os.unlink(self.path)
            self.call("daemon-reload")

    def call(self, *argv, check=True):
        """Run systemctl; return its output."""
        code, output = _run(["systemctl", *argv], subprocess.STDOUT, LC_ALL="C", TZ="UTC")  # for read_time
        if code and check:
            raise UnitError("systemctl {} failed: {}".format(" ".join(argv), output.strip()))
        return output

    def log(self):
        """Read the last 20 lines of the unit's journal."""
        argv = ["journalctl", "--unit", self.unit, "--lines", "20", "--no-pager", "--output", "short-iso"]
        text = _run(argv, subprocess.DEVNULL)[1].strip()
        return "" if text == "-- No entries --" else text

    def fail(self, module, message):
        """Fail the module with the end of the unit's journal."""
        log = self.log()
        module.fail_json(msg="\n".join([message, *log.splitlines()[-10:]]), output=log)


def _run(argv, stderr, **variables):
    env = {**os.environ, **variables}
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=stderr, env=env, check=False)
    return done.returncode, done.stdout.decode("utf-8", "replace")


def has_job(state):
    """Return whether systemd has a job for the unit: between the two halves of a restart it may look failed."""
    return state.get("Job", "0") not in ("", "0")


def has_ended(state):
    """Return whether the unit does not run, and systemd is neither stopping nor about to start it."""
    return state.get("ActiveState") not in (*RUNNING, "deactivating") and not has_job(state)


def is_restarting(state):
    """Return whether systemd is stopping the unit, or is between the two halves of its restart."""
    if state.get("ActiveState") == "deactivating" or state.get("SubState") == "auto-restart":
        return True
    return has_job(state) and state.get("ActiveState") not in RUNNING


def is_outdated(state, paths):
    """Return whether a running unit was started before one of these files was last written.

    Times are compared to the second, the precision of systemctl. A file from the future proves nothing: the clock was
    set back since.
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
