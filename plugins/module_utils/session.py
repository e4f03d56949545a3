"""The session in which a module runs: find its end, and end the module's commands with it."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess

KILL_GRACE = 5  # seconds between SIGTERM and SIGKILL
# With a pseudo-terminal (use_pty), these relay the output: only their own output shows the end of the session.
_RELAYS = ("sudo", "doas", "su")
_PARENT = os.getppid()


class SessionEndedError(SystemExit):
    """The module's caller is gone. As a SystemExit it ends the module, and no handler of errors records a result."""


def check():
    """Raise SessionEndedError if the session has ended; commands must have been ended before."""
    if has_ended():
        raise SessionEndedError("the session that started this module has ended")


def has_ended():
    """Return whether nobody reads this module's output any more, or its parent has ended.

    sshd sends no signal to a command without a terminal if the client is gone; it only closes the pipes.
    """
    return os.getppid() != _PARENT or _is_unread(1) or any(_is_unread_of(pid) for pid in _find_relays())


def end(process):
    """End a command, its process group and its descendants: SIGTERM, then SIGKILL."""
    started = find_descendants(process.pid)
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, number)
        for pid in started:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(KILL_GRACE)
    # The SIGKILL of the second round also ends those that ignored SIGTERM after the leader ended.


def find_descendants(pid):
    """List the processes that a process has started, in their own process groups, too."""
    children = {}
    for name in filter(str.isdigit, os.listdir("/proc")):
        children.setdefault(_read_stat(name)[1], []).append(int(name))
    found = list(children.get(pid, ()))
    for child in found:
        found.extend(children.get(child, ()))
    return found


def _is_unread(descriptor):
    """Return whether the reader of a pipe, or the other end of a terminal or socket, is closed."""
    poller = select.poll()
    poller.register(descriptor, 0)  # errors are always reported
    return any(event & (select.POLLERR | select.POLLHUP) for _file, event in poller.poll(0))


def _is_unread_of(pid):
    """Return whether the standard output of a process is a pipe without a reader."""
    try:
        descriptor = os.open(f"/proc/{pid}/fd/1", os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    except OSError:  # it has ended, belongs to another user, or has a socket
        return False
    try:
        return _is_unread(descriptor)
    finally:
        os.close(descriptor)


def _find_relays():
    """List the processes above this one that may relay its output."""
    found, pid = [], os.getppid()
    while pid > 1:
        name, parent = _read_stat(pid)
        found += [pid] if name in _RELAYS else []
        pid = parent
    return found


def _read_stat(pid):
    """Return (name, parent) of a process; ("", 0) if it has ended."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            before, _paren, after = file.read().rpartition(")")
    except OSError:
        return "", 0
    return before.partition("(")[2], int(after.split()[1])
