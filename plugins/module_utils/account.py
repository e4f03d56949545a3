"""The user that a module works for: find the account, access files and run commands as this user."""

from __future__ import annotations

import contextlib
import os
import pwd
import re
import shutil
import subprocess
import sys
import tempfile
import time

from ansible_collections.flambe.cluster.plugins.module_utils import session

PROC = "/proc"
SYSTEM_PYTHON = "/usr/bin/python3"
SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# Set for another interpreter on the host, these break a runtime's Python.
FOREIGN_PYTHON = ("PYTHONHOME", "PYTHONPATH")
_SHOWN = 100  # characters of a command in a message
_POLL_SECONDS = 0.5
_MACHINECTL = "container-shell@"  # the unit of a shell of machinectl
_MOST_BYTES = 65536  # of an output, in a message or for ``on_lines``


class UnknownUserError(KeyError):
    """The connecting user cannot be found out."""


class CommandError(Exception):
    """A command failed: ``command``, shortened for messages, with the end of its ``output``."""

    def __init__(self, message, command, output):
        super().__init__(message)
        self.command = command
        self.output = output


class CommandTimeoutError(CommandError):
    """A command exceeded its time limit and was killed."""

    def __init__(self, command, timeout, output, setting=""):
        message = "{}: still running after {:g} s; last output: {}".format(command, timeout, tail(output, 1) or "none")
        super().__init__(message + (f"; raise {setting} to allow more" if setting else ""), command, tail(output))


def interpreter():
    """Return the path of the Python that runs the module; of the system's Python the path without a version."""
    running = sys.executable or SYSTEM_PYTHON
    is_system = os.path.dirname(running) == os.path.dirname(SYSTEM_PYTHON)
    return SYSTEM_PYTHON if is_system and os.path.realpath(running) == os.path.realpath(SYSTEM_PYTHON) else running


def find(name):
    """Find an account; an empty name means the connecting user, also if root runs the module. Raises KeyError."""
    if not name and os.geteuid() == 0:
        name = os.environ.get("SUDO_USER") or os.environ.get("DOAS_USER")
    return pwd.getpwnam(name) if name else pwd.getpwuid(find_connected() if os.geteuid() == 0 else os.geteuid())


def find_connected():
    """Return the id of the user whose process became root, for methods that leave no variable, such as su.

    This is the owner of the nearest process above this one that does not belong to root; 0 if all of them do.
    """
    pid = os.getpid()
    while pid > 1:
        try:
            with open(f"{PROC}/{pid}/status", encoding="utf-8", errors="replace") as file:
                status = dict(line.split(":", 1) for line in file if ":" in line)
        except OSError:
            break
        owner = int(status["Uid"].split()[0])  # the real one: su and sudo run with root's effective one
        if owner:
            return owner
        pid = int(status["PPid"])
    with contextlib.suppress(OSError), open(f"{PROC}/self/cgroup", encoding="utf-8") as file:
        if _MACHINECTL in file.read():  # a new session below systemd: the processes of the connection are not above
            raise UnknownUserError
    return 0


def of_module(module):
    """Find the account in a module's ``user`` option; fail the module if the host has no such user."""
    try:
        return find(module.params["user"])
    except UnknownUserError:
        return module.fail_json(
            msg="the connecting user is not known with this become method: set the user of the role"
        )
    except KeyError:
        return module.fail_json(msg="user {} does not exist on this host".format(module.params["user"]))


@contextlib.contextmanager
def acting_as(account):
    """Access files as this user inside the block; requires root, or being that user."""
    if os.geteuid() != 0 or account.pw_uid == 0:
        yield
        return
    groups = os.getgroups()
    os.initgroups(account.pw_name, account.pw_gid)
    os.setegid(account.pw_gid)
    os.seteuid(account.pw_uid)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)
        os.setgroups(groups)


def login_environment(account, path="/etc/environment"):
    """Return the environment of a login of this user: /etc/environment plus HOME, USER, LOGNAME and SHELL."""
    name, shell = account.pw_name, account.pw_shell or "/bin/bash"
    login = {"HOME": account.pw_dir, "USER": name, "LOGNAME": name, "SHELL": shell}
    return {"PATH": SYSTEM_PATH, "LANG": "C.UTF-8", **read_environment(path), **login}


def environment(account, path="/etc/environment"):
    """Return the login environment without the variables that break a runtime's Python."""
    found = login_environment(account, path)
    return {name: value for name, value in found.items() if name not in FOREIGN_PYTHON}


def read_environment(path):
    """Parse the ``NAME=value`` lines of /etc/environment like pam_env."""
    found = {}
    with contextlib.suppress(OSError), open(path, encoding="utf-8", errors="replace") as file:
        for line in file:
            match = re.match(r"\s*(?:export\s+)?([A-Za-z_]\w*)=(.*)$", line)
            if match:
                name, value = match.group(1), match.group(2).strip()
                quoted = len(value) > 1 and value[0] == value[-1] and value[0] in "'\""
                found[name] = value[1:-1] if quoted else value
    return found


def run(account, argv, timeout=None, env=None, cwd=None, shown="", setting="", pass_fds=(), on_lines=None, **streams):
    """Run a command as this user, in a new process group without stdin; return (exit code, stdout and stderr).

    After ``timeout`` seconds it is ended with all that it started, and CommandTimeoutError is raised; at the end of the
    session it is ended, too. Messages name ``shown`` (the command) and ``setting`` (the variable that sets the limit).
    The output goes to a file, so that a daemon left behind by the command does not block the caller. ``on_lines``
    receives the new lines of the output every half second until the command ends, even if there are none; of a long
    output only the last ones. ``streams`` are open files that the command uses instead: ``stdin`` and ``stdout``.
    """
    drop = os.geteuid() == 0 and account.pw_uid != 0

    def become():
        if drop:
            os.initgroups(account.pw_name, account.pw_gid)
            os.setgid(account.pw_gid)
            os.setuid(account.pw_uid)
        os.umask(0o022)

    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(
            argv,
            stdin=streams.get("stdin") or subprocess.DEVNULL,
            stdout=streams.get("stdout") or output,
            stderr=output,
            env=environment(account) if env is None else env,
            cwd=cwd or (account.pw_dir if os.path.isdir(account.pw_dir) else "/"),
            preexec_fn=become,
            start_new_session=True,
            pass_fds=pass_fds,
        )
        try:
            code = wait(process, timeout, output, on_lines)
        except subprocess.TimeoutExpired:
            session.end(process)
            raise CommandTimeoutError(shown or shorten(argv), timeout, read_tail(output), setting) from None
        return code, read_tail(output)


def wait(process, timeout, output, on_lines):
    """Wait for a command that ``run`` has started; return its exit code.

    Raises subprocess.TimeoutExpired at the time limit. At the end of the session the command is ended, and
    SessionEndedError is raised.
    """
    deadline = None if timeout is None else time.monotonic() + timeout
    position = 0
    while True:
        left = _POLL_SECONDS if deadline is None else deadline - time.monotonic()
        try:
            return process.wait(max(min(left, _POLL_SECONDS), 0))
        except subprocess.TimeoutExpired:
            if session.has_ended():
                session.end(process)
                session.check()
            if on_lines:
                lines, position = read_lines(output, position)
                on_lines(lines)
            if deadline is not None and time.monotonic() >= deadline:
                raise


def read_lines(file, position):
    """Read the complete lines of an open file from a position on; return (lines, the position after them).

    The offset of the file is unchanged, because a running command shares it. If there is much to read, only the last
    lines are read.
    """
    size = os.fstat(file.fileno()).st_size
    begin = max(position, size - _MOST_BYTES)
    data = os.pread(file.fileno(), size - begin, begin)
    length = max(data.rfind(b"\n"), data.rfind(b"\r")) + 1
    return data[:length].decode("utf-8", "replace").splitlines(), begin + length


def check(account, argv, timeout, shown, **options):
    """Run a command like ``run``; return its output, or raise CommandError."""
    code, output = run(account, argv, timeout, shown=shown, **options)
    if code:
        raise CommandError(f"{shown} failed with exit code {code}", shown, tail(output))
    return output


def shorten(argv):
    """Write a command in one short line."""
    text = " ".join(" ".join(argv).split())
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "..."


def count(number, noun):
    """Write a number with its noun, such as ``2 files``."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def enumerate_words(words):
    """Write words as ``a, b and c``."""
    *first, last = words
    return f"{', '.join(first)} and {last}" if first else last


def read_tail(file, size=_MOST_BYTES):
    """Read the last bytes of an open file as text."""
    end = file.seek(0, os.SEEK_END)
    file.seek(max(0, end - size))
    return file.read().decode("utf-8", "replace")


def tail(text, lines=30):
    """Return the last lines of an output."""
    return "\n".join(text.rstrip().splitlines()[-lines:])


def which(account, command):
    """Find a command on the PATH of this user's login shell; on the system's PATH if the login shell fails."""
    try:
        _code, output = run(account, ["/bin/bash", "-lc", 'printf "\\nPATH=%s" "$PATH"'], timeout=60)
    except CommandTimeoutError:
        output = ""
    name, _equals, path = output.rsplit("\n", 1)[-1].partition("=")
    return shutil.which(command, path=path if name == "PATH" else SYSTEM_PATH)
