"""The container engine of this host: its packages, settings, service, users and registry logins."""

from __future__ import annotations

import base64
import grp
import json
import os
import shutil

from ansible_collections.flambe.cluster.plugins.module_utils import account as accounts
from ansible_collections.flambe.cluster.plugins.module_utils import files, locks, packages
from ansible_collections.flambe.cluster.plugins.module_utils.systemd import Systemd, UnitError, is_outdated

UNIT, GROUP = "docker.service", "docker"
SETTINGS = "/etc/docker/daemon.json"
DATA = "/var/lib/docker"
# Of each distribution; an empty list: it offers none.
PACKAGES = {
    "debian": ["docker.io"],
    "ubuntu": ["docker.io"],
    "amzn": ["docker"],
    "fedora": ["moby-engine"],
    "opensuse": ["docker"],
    "suse": ["docker"],
    "rhel": [],
    "centos": [],
}
HUB = "https://index.docker.io/v1/"  # the name of Docker Hub in the file of the logins
TOOLKIT, NVIDIA = "nvidia-container-toolkit", "nvidia-container-runtime"
_TOOLKIT_PAGE = "https://docs.nvidia.com/datacenter/cloud-native/container-toolkit/latest/install-guide.html"
_FILE_DRIVERS = ("json-file", "local")  # the log drivers that rotate
_APPARMOR = "/sys/module/apparmor/parameters/enabled"
_SECONDS = 120  # for a login, or a change of the group


class EngineError(Exception):
    """The engine cannot be brought to its state; ``output`` is the end of what a command printed."""

    def __init__(self, message, output=""):
        super().__init__(message)
        self.output = output


class Engine:
    """The engine, as a module's parameters describe it; ``warnings`` are for the user."""

    def __init__(self, params, account, dry):
        self.params = params
        self.account = account
        self.dry = dry
        self.unit = Systemd(UNIT, dry)
        self.manager = packages.Manager(params["timeout"], params["timeout_setting"])
        self.has_nvidia = False
        self.warnings = []
        self.diff = {}

    @property
    def summary(self):
        """What was done, and the warnings: flambe-ans shows only this text."""
        return "; ".join([self.unit.summary(), *self.warnings])

    def converge(self):
        """Bring packages, settings, service, group and logins to their state."""
        self.install()
        self.has_nvidia = self.prepare_nvidia()
        self.start(*self.configure())
        self.add_member()
        for login in self.params["logins"]:
            self.log_in(login)

    def install(self):
        """Install the engine, unless the host has one."""
        if _find("dockerd"):
            return
        try:
            wanted = self.params["packages"] or packages.choose(PACKAGES)
        except packages.PackageError as error:
            raise EngineError(
                f"no container engine can be installed: {error}; install Docker with setup commands, or set"
                " cluster_containers_packages"
            ) from None
        needed, free = self.params["disk_mb"], packages.read_free_megabytes(DATA)
        if free < needed:
            raise EngineError(f"{DATA} needs {needed} MB of free disk space for a container engine, and has {free} MB")
        if (files.read(_APPARMOR) or "").startswith("Y") and not _find("apparmor_parser"):
            wanted = [*wanted, "apparmor"]  # without it, the engine starts no container on such a kernel
        self._install(wanted)

    def prepare_nvidia(self):
        """Install NVIDIA's runtime if the host has a GPU; return whether it is there."""
        if not self.params["nvidia"] or not locks.read_driver():
            return False
        if _find(NVIDIA):
            return True
        if self.manager.offers(TOOLKIT):
            self._install([TOOLKIT])
            return True
        self.warnings.append(
            f"this host has an NVIDIA GPU, and its package sources have no {TOOLKIT}: containers cannot use the GPU;"
            f" add NVIDIA's package source: {_TOOLKIT_PAGE}"
        )
        return False

    def configure(self):
        """Write the settings; other settings in the file are kept. Return (whether it changes, the text before)."""
        before = files.read(SETTINGS)
        current = parse_settings(before)
        wanted = merge_settings(current, self.params, self.has_nvidia)
        if wanted == current:
            return False, before
        self.unit.note(f"write {SETTINGS}")
        # Only what changes is shown: other settings may contain the password of a proxy.
        names = [name for name in wanted if wanted[name] != current.get(name)]
        self.diff = {
            "before_header": SETTINGS,
            "after_header": SETTINGS,
            "before": files.as_json({name: current[name] for name in names if name in current}),
            "after": files.as_json({name: wanted[name] for name in names}),
        }
        if not self.dry:
            files.ensure_folder(os.path.dirname(SETTINGS), 0o755)
            files.write(SETTINGS, files.as_json(wanted), files.mode_of(SETTINGS) or 0o644)
        return True, before

    def start(self, changed, before):
        """Enable the unit, and start it; restart it if the settings changed after its start.

        Settings with which it does not start are taken back.
        """
        state = self.unit.show_settled()
        enables, active = state.get("UnitFileState") != "enabled", state.get("ActiveState") == "active"
        if enables:
            self.unit.note(f"enable {UNIT}")
        starts = changed or not active or is_outdated(state, [SETTINGS])
        if starts:
            self.unit.note(f"{'restart' if active else 'start'} {UNIT}")
        if self.dry:
            return
        try:
            if enables:
                self.unit.call("enable", "--quiet", UNIT)
            if starts:
                self.unit.restart()
        except UnitError as error:
            log = self.unit.log()
            if changed:
                _restore(before)
                self.unit.call("reset-failed", UNIT, check=False)
                self.unit.call("restart", UNIT, check=False)
            kept = f"; {SETTINGS} is as before" if changed else ""
            raise EngineError(f"the container engine does not start: {explain_log(log) or error}{kept}", log) from None

    def add_member(self):
        """Let the user use the engine. Its group has the rights of root on the host."""
        name = self.account.pw_name
        if self.account.pw_uid == 0 or is_member(self.account):
            return
        self.unit.note(f"add {name} to group {GROUP}")
        if not self.dry:
            self._check(accounts.find("root"), ["groupadd", "--force", "--system", GROUP])
            self._check(accounts.find("root"), ["gpasswd", "--add", name, GROUP])

    def log_in(self, login):
        """Log in to a registry as the user, unless these credentials are stored."""
        registry = "" if login["registry"] in ("", "docker.io") else login["registry"]
        shown = registry or "Docker Hub"
        path = os.path.join(self.account.pw_dir, ".docker", "config.json")
        with accounts.acting_as(self.account):
            stored = files.read_json(path)
        helper = stored.get("credHelpers", {}).get(registry or HUB) or stored.get("credsStore")
        if helper:
            raise EngineError(
                f"{path} has the credential helper {helper} for {shown}; remove its login from the secrets"
            )
        pair = "{username}:{password}".format(**login).encode()
        if stored.get("auths", {}).get(registry or HUB, {}).get("auth") == base64.b64encode(pair).decode():
            return
        self.unit.note(f"log in to {shown}")
        if self.dry:
            return
        reader, writer = os.pipe()  # the password is in no argument and in no file
        os.write(writer, login["password"].encode())
        os.close(writer)
        argv = ["docker", "login", "--username", login["username"], "--password-stdin", *filter(None, [registry])]
        try:
            self._check(self.account, argv, shown=f"the login to {shown} as {login['username']}", stdin=reader)
        finally:
            os.close(reader)

    def _install(self, names):
        """Install packages."""
        self.unit.note("install {}".format(" ".join(names)))
        if self.dry:
            return
        try:
            self.manager.install(names)
        except packages.PackageError as error:
            raise EngineError("{} cannot be installed: {}".format(" ".join(names), error), error.output) from None
        except accounts.CommandError as error:
            raise EngineError(str(error), error.output) from None

    def _check(self, account, argv, shown="", stdin=None):
        """Run a command; raise EngineError with the last line of its output."""
        shown = shown or " ".join(argv)
        code, output = accounts.run(account, argv, timeout=_SECONDS, shown=shown, stdin=stdin)
        if code:
            raise EngineError(
                f"{shown} failed: {accounts.tail(output, 1) or f'exit code {code}'}", accounts.tail(output)
            )


def _find(command):
    return shutil.which(command, path=accounts.SYSTEM_PATH)


def parse_settings(text):
    """Parse the settings; raise EngineError if they are no JSON object, since they would be lost."""
    try:
        found = json.loads(text) if (text or "").strip() else {}
    except ValueError as error:
        raise EngineError(f"{SETTINGS} is not valid JSON: {error}; correct or remove it") from None
    if not isinstance(found, dict):
        raise EngineError(f"{SETTINGS} is not a JSON object; correct or remove it")
    return found


def merge_settings(current, params, has_nvidia):
    """Return the settings with those of the role; a log driver that does not rotate files is left alone."""
    wanted = merge(current, params["settings"])
    if params["log_max_size"] and wanted.get("log-driver", _FILE_DRIVERS[0]) in _FILE_DRIVERS:
        limits = {"max-size": params["log_max_size"], "max-file": str(params["log_max_files"])}
        wanted = merge(wanted, {"log-driver": wanted.get("log-driver", _FILE_DRIVERS[0]), "log-opts": limits})
    if has_nvidia and "nvidia" not in wanted.get("runtimes", {}):
        wanted = merge(wanted, {"runtimes": {"nvidia": {"path": NVIDIA, "args": []}}})
    return wanted


def merge(old, new):
    """Merge two documents; the new values win, and objects are merged."""
    both = dict(old)
    for name, value in new.items():
        inner = both.get(name)
        both[name] = merge(inner, value) if isinstance(inner, dict) and isinstance(value, dict) else value
    return both


def is_member(account):
    """Return whether a user belongs to the engine's group."""
    try:
        group = grp.getgrnam(GROUP)
    except KeyError:
        return False
    return account.pw_name in group.gr_mem or account.pw_gid == group.gr_gid


def explain_log(log):
    """Return why the engine did not start, from its journal."""
    lines = [line.partition(": ")[2] for line in log.splitlines()]
    reasons = [line for line in lines if "failed to start daemon" in line or "unable to configure" in line]
    return (reasons or [""])[-1]


def _restore(text):
    """Write the settings as they were."""
    if text is None:
        os.unlink(SETTINGS)
    else:
        files.write(SETTINGS, text, files.mode_of(SETTINGS) or 0o644)
