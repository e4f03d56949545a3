"""Packages of the distribution: which manager this host has, and installing with it."""

from __future__ import annotations

import shutil
import time

from ansible_collections.flambe.cluster.plugins.module_utils import account as accounts
from ansible_collections.flambe.cluster.plugins.module_utils import apt_lock, files, progress

# By manager: how to install without questions, and how to find out whether a package is offered.
_APT = ["apt-get", "-o", "DPkg::Lock::Timeout=600", "--yes", "--quiet"]
MANAGERS = {
    "apt-get": ([*_APT, "install", "--no-install-recommends"], ["apt-cache", "show"]),
    "dnf": (["dnf", "--assumeyes", "install"], ["dnf", "--quiet", "list"]),
    "yum": (["yum", "--assumeyes", "install"], ["yum", "--quiet", "list"]),
    "zypper": (["zypper", "--non-interactive", "install"], ["zypper", "--non-interactive", "search", "--match-exact"]),
}
# Nothing is asked, and needrestart restarts no services.
_QUIET = {"DEBIAN_FRONTEND": "noninteractive", "NEEDRESTART_SUSPEND": "1", "LC_ALL": "C.UTF-8"}


class PackageError(Exception):
    """A package cannot be installed; ``output`` is the end of the manager's output."""

    def __init__(self, message, output=""):
        super().__init__(message)
        self.output = output


def read_distribution(path="/etc/os-release"):
    """Return the names of this distribution: its own, then those that it is like."""
    values = accounts.read_environment(path)
    return [values.get("ID", ""), *values.get("ID_LIKE", "").split()]


def choose(table, path="/etc/os-release"):
    """Return the entry of this distribution in a table, or that of one that it is like.

    Raises PackageError if there is none, or an empty one.
    """
    names = read_distribution(path)
    found = next((table[name] for name in names if name in table), [])
    if not found:
        raise PackageError(f"the distribution {names[0] or 'of this host'} has no package for it")
    return found


class Manager:
    """The package manager of this host; it works as root."""

    def __init__(self, timeout, setting, path=accounts.SYSTEM_PATH):
        self.timeout = timeout
        self.setting = setting
        self.name = next((name for name in MANAGERS if shutil.which(name, path=path)), "")

    def offers(self, package):
        """Return whether the package sources of this host have a package; nothing is downloaded."""
        return bool(self.name) and self._run([*MANAGERS[self.name][1], package])[0] == 0

    def install(self, packages):
        """Install packages; with apt the lists are updated first if they may be outdated. Raises PackageError."""
        if not self.name:
            raise PackageError("this host has no package manager that is supported: {}".format(", ".join(MANAGERS)))
        argv = [*MANAGERS[self.name][0], *packages]
        code, output = self._run(argv)
        if code and self.name == "apt-get":  # the lists are missing, or name a version that was replaced
            updated, listed = self._run([*_APT, "update"])
            code, output = (updated, listed) if updated else self._run(argv)
        if code:
            raise PackageError(explain(output) or f"{self.name} failed with exit code {code}", accounts.tail(output))

    def _run(self, argv):
        """Run a command of the manager; repeat it while another process holds a lock of apt."""
        root = accounts.find("root")
        env = {**accounts.environment(root), **_QUIET}
        shown = " ".join(argv)
        deadline = time.monotonic() + apt_lock.WAIT_SECONDS
        while True:
            code, output = accounts.run(
                root, argv, timeout=self.timeout, env=env, shown=shown, setting=self.setting, on_lines=_show
            )
            if not code or not apt_lock.is_refused(output) or time.monotonic() > deadline:
                return code, output
            progress.report("waiting until another process releases the locks of apt")
            apt_lock.wait(deadline)


def _show(lines):
    """Publish the last line that a package manager printed."""
    printed = [line for line in lines if line.strip()]
    if printed:
        progress.report(printed[-1])


def explain(output):
    """Return the line of a package manager's output that names the problem: the first error, else the last line."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith(("E: ", "Error: ", "error: "))]
    return (errors or lines[-1:] or [""])[0]


def read_free_megabytes(path):
    """Return the free disk space for a path that need not exist, in MB."""
    while files.mode_of(path) is None:
        path = path.rstrip("/").rpartition("/")[0] or "/"
    return shutil.disk_usage(path).free // 10**6
