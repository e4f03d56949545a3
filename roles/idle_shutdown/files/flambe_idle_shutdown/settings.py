"""The role's settings, and what all parts share: the error of a signal, and commands with a time limit."""

from __future__ import annotations

import os
import pwd
import time

COMMAND_SECONDS = 20  # for commands of the system
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_SHOWN = 200  # characters


class SignalError(Exception):
    """A signal cannot be read; the host counts as busy."""


class Settings:
    """The role's settings; paths may begin with ``~``, the home folder of the user."""

    def __init__(self, values):
        self.user = values["user"]  # the login user: owner of the token and the key, runs the command
        self.home = pwd.getpwnam(self.user).pw_dir
        self.folder = values["folder"]  # of the state
        self.timeout = float(values["timeout"])  # idle seconds until the host is powered off; -1 for never
        self.interval = float(values["interval"])  # seconds between two checks
        self.ends_at = read_time(values["ends_at"]) if values["ends_at"] else None  # seconds since the epoch
        self.units = values["units"]  # units of jobs
        self.ray_unit = values["ray_unit"]
        self.dashboard = values["dashboard"]  # the URL of Ray's dashboard on the head of current Ray, or ""
        self.token = self.expand(values["token"])  # the file with Ray's token
        self.reservation = values["reservation"]  # the file that a launch locks
        self.head = values["head"]  # the address of the orchestrator on the other hosts, or ""
        self.patience = float(values["patience"])  # seconds to wait for an orchestrator that does not answer
        self.key = self.expand(values["key"])  # the private key for SSH to it
        self.program = values["program"]  # the path of this program, the same on all hosts
        self.cpu_percent = float(values["cpu_percent"])  # of one CPU
        self.gpu_percent = float(values["gpu_percent"])
        self.nvidia_smi = values["nvidia_smi"]
        self.command = values["command"]  # the user's own check, or ""
        self.command_timeout = float(values["command_timeout"])  # seconds
        self.alarm_percent = float(values["alarm_percent"])  # of all CPUs; a busy host uses more, or 0

    @property
    def as_user(self):
        """The start of a command that runs as the user."""
        account = pwd.getpwnam(self.user)
        return ["setpriv", f"--reuid={account.pw_uid}", f"--regid={account.pw_gid}", "--init-groups", "--"]

    def expand(self, path):
        """Replace a leading ``~`` by the user's home folder."""
        return self.home + path[1:] if path == "~" or path.startswith("~/") else path


def read_time(text):
    """Return a time in UTC, such as ``2026-12-01T18:00:00Z``, in seconds since the epoch."""
    import calendar

    return float(calendar.timegm(time.strptime(text, "%Y-%m-%dT%H:%M:%SZ")))


def clean(text):
    """Return the start of a text, with its unprintable characters replaced."""
    return "".join(one if one.isprintable() else "?" for one in str(text).strip())[:_SHOWN]


def run(argv, *, timeout=COMMAND_SECONDS, env=None, cwd=None):
    """Run a command in a process group of its own; return its exit code, output and errors; a late one is killed.

    Raises:
        SignalError: It cannot be started, or exceeded its time limit.
    """
    import contextlib
    import signal
    import subprocess

    pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    try:
        process = subprocess.Popen(argv, env=env, cwd=cwd, start_new_session=True, **pipes)
    except OSError as error:
        raise SignalError(f"{argv[0]}: {error.strerror}") from error
    try:
        output, errors = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        raise SignalError(f"{argv[0]}: no answer within {timeout:g} s") from None
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    return process.returncode, output.decode("utf-8", "replace"), errors.decode("utf-8", "replace")
