"""The user that a module works for: find the account, access files and run commands as this user."""

from __future__ import annotations

import contextlib
import os
import pwd
import re
import shutil
import signal
import subprocess
import tempfile

SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# Set for another interpreter on the host, these break a runtime's Python.
FOREIGN_PYTHON = ("PYTHONHOME", "PYTHONPATH")
KILL_GRACE = 5  # seconds between SIGTERM and SIGKILL
_SHOWN = 100  # characters of a command in a message


class CommandError(Exception):
    """A command failed.

    Attributes:
        command: The command, shortened for messages.
        output: The end of its output.
    """

    def __init__(self, message, command, output):
        super().__init__(message)
        self.command = command
        self.output = output


class CommandTimeoutError(CommandError):
    """A command exceeded its time limit and was killed."""

    def __init__(self, command, timeout, output, setting=""):
        message = "{}: still running after {:g} s; last output: {}".format(command, timeout, tail(output, 1) or "none")
        super().__init__(message + (f"; raise {setting} to allow more" if setting else ""), command, tail(output))


def find(name):
    """Find an account; an empty name means the connecting user, also behind sudo or doas.

    Returns:
        A ``pwd.struct_passwd``.

    Raises:
        KeyError: The host has no such user.
    """
    if name:
        return pwd.getpwnam(name)
    if os.geteuid() == 0:
        behind = os.environ.get("SUDO_USER") or os.environ.get("DOAS_USER")
        if behind:
            return pwd.getpwnam(behind)
    return pwd.getpwuid(os.geteuid())


def of_module(module):
    """Find the account in a module's ``user`` option; fail the module if the host has no such user."""
    try:
        return find(module.params["user"])
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
    found = {"PATH": SYSTEM_PATH, "LANG": "C.UTF-8"}
    found.update(read_environment(path))
    found.update(
        HOME=account.pw_dir, USER=account.pw_name, LOGNAME=account.pw_name, SHELL=account.pw_shell or "/bin/bash"
    )
    return found


def environment(account, path="/etc/environment"):
    """Return the login environment without the variables that break a runtime's Python."""
    found = login_environment(account, path)
    return {name: value for name, value in found.items() if name not in FOREIGN_PYTHON}


def read_environment(path):
    """Parse the ``NAME=value`` lines of /etc/environment like pam_env."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            lines = file.read().splitlines()
    except OSError:
        return {}
    found = {}
    for line in lines:
        match = re.match(r"\s*(?:export\s+)?([A-Za-z_]\w*)=(.*)$", line)
        if match:
            value = match.group(2).strip()
            if len(value) > 1 and value[0] == value[-1] and value[0] in "'\"":
                value = value[1:-1]
            found[match.group(1)] = value
    return found


def run(account, argv, timeout=None, env=None, cwd=None, shown="", setting="", pass_fds=()):
    """Run a command as this user, without stdin, in a new process group.

    The output goes to a file, so that a daemon left behind by the command does not block the caller.

    Args:
        account: A ``pwd.struct_passwd``.
        argv: The command.
        timeout: Seconds until the process group is killed; None for no limit.
        env: The environment; ``environment(account)`` by default.
        cwd: The working directory; the user's home by default.
        shown: The command in messages; by default the words of ``argv``, shortened.
        setting: The variable that sets the time limit, for messages.
        pass_fds: File descriptors that the command inherits.

    Returns:
        (exit code, output): stdout and stderr interleaved.

    Raises:
        CommandTimeoutError: The time limit was exceeded.
    """
    drop = os.geteuid() == 0 and account.pw_uid != 0

    def become():
        if drop:
            os.initgroups(account.pw_name, account.pw_gid)
            os.setgid(account.pw_gid)
            os.setuid(account.pw_uid)
        os.umask(0o022)

    home = cwd or (account.pw_dir if os.path.isdir(account.pw_dir) else "/")
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=environment(account) if env is None else env,
            cwd=home,
            preexec_fn=become,
            start_new_session=True,
            pass_fds=pass_fds,
        )
        try:
            code = process.wait(timeout)
        except subprocess.TimeoutExpired:
            kill_group(process)
            raise CommandTimeoutError(shown or shorten(argv), timeout, read_tail(output), setting) from None
        return code, read_tail(output)


def shorten(argv):
    """Write a command in one short line."""
    text = " ".join(" ".join(argv).split())
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "..."


def kill_group(process):
    """End a command and everything in its process group: SIGTERM, then SIGKILL."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(KILL_GRACE)
    # The SIGKILL of the second round also ends members that ignored SIGTERM after the leader ended.


def read_tail(file, size=65536):
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
        _, output = run(account, ["/bin/bash", "-lc", 'printf "\\nPATH=%s" "$PATH"'], timeout=60)
    except CommandTimeoutError:
        output = ""
    name, _, path = output.rsplit("\n", 1)[-1].partition("=")
    return shutil.which(command, path=path if name == "PATH" else SYSTEM_PATH)
