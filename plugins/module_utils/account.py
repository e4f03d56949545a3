"""The user whom a module works for: finding the account, acting and running commands as it."""

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
KILL_GRACE = 5  # seconds between SIGTERM and SIGKILL


class CommandTimeoutError(Exception):
    """A command ran longer than it may; ``output`` is what it had printed."""

    def __init__(self, output):
        super().__init__("timed out")
        self.output = output


def find(name):
    """Find an account; the empty name is the user who connected, also behind sudo or doas.

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


@contextlib.contextmanager
def acting_as(account):
    """Touch files as this user for a while; needs root, or to be that user."""
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


def environment(account, path="/etc/environment"):
    """Make the environment that a login of this user starts with: /etc/environment and the account."""
    found = {"PATH": SYSTEM_PATH, "LANG": "C.UTF-8"}
    found.update(read_environment(path))
    found.update(
        HOME=account.pw_dir, USER=account.pw_name, LOGNAME=account.pw_name, SHELL=account.pw_shell or "/bin/bash"
    )
    return found


def read_environment(path):
    """Read the lines ``NAME=value`` of /etc/environment as pam_env does."""
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


def run(account, argv, timeout=None, env=None, cwd=None):
    """Run a command as this user, without stdin, in its own process group.

    Its output goes to a file, so that a daemon it leaves behind holds nobody up.

    Args:
        account: A ``pwd.struct_passwd``.
        argv: The command.
        timeout: Seconds until the whole process group is killed, or None.
        env: Its environment; that of a login when None.
        cwd: Where it runs; the user's home when None.

    Returns:
        (exit code, output): stdout and stderr in their order.

    Raises:
        CommandTimeoutError: It took longer.
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
        )
        try:
            code = process.wait(timeout)
        except subprocess.TimeoutExpired:
            kill_group(process)
            raise CommandTimeoutError(read_tail(output)) from None
        return code, read_tail(output)


def kill_group(process):
    """End a command and all that it started: SIGTERM, then SIGKILL."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(KILL_GRACE)
    # What ignored SIGTERM while the leader left is gone by the second round's SIGKILL.


def read_tail(file, size=65536):
    """Read the last bytes of an open file as text."""
    end = file.seek(0, os.SEEK_END)
    file.seek(max(0, end - size))
    return file.read().decode("utf-8", "replace")


def tail(text, lines=30):
    """Keep the last lines of an output."""
    return "\n".join(text.rstrip().splitlines()[-lines:])


def which(account, command):
    """Find a command on the path that this user's login shell has."""
    code, output = run(account, ["/bin/bash", "-lc", 'printf "\\n%s" "$PATH"'], timeout=60)
    path = output.rsplit("\n", 1)[-1] if code == 0 else SYSTEM_PATH
    return shutil.which(command, path=path)
