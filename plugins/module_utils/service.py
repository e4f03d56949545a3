"""One command as a systemd unit on this host: folders, files, unit and process."""

from __future__ import annotations

import os
import shlex
import socket
import time

from ansible_collections.flambe.cluster.plugins.module_utils import account as accounts
from ansible_collections.flambe.cluster.plugins.module_utils import files, progress, service_text, systemd, venv
from ansible_collections.flambe.cluster.plugins.module_utils.systemd import Systemd, UnitError

PYTHON = "@PYTHON@"  # in commands and files, the Python that runs the module


class Service:
    """The service that a module's parameters describe."""

    def __init__(self, params, account, dry):
        python, commands = accounts.interpreter(), ("command", "stop_post")
        self.params = {**params, **{name: [one.replace(PYTHON, python) for one in params[name]] for name in commands}}
        self.account = account
        self.dry = dry
        self.systemd = Systemd(params["name"], dry)

    def converge(self):
        """Bring folders, files, unit and process to the wanted state."""
        if self.params["state"] != "present":
            self.systemd.show_settled()
        for path in self.params["folders"]:
            self.own_folder(path)
        changed = [self.write_file(one) for one in self.params["files"]]
        runtime, account = self.params["runtime"], self.account
        depends = {"runtime": venv.read_marker(runtime).get("serial", "") if runtime else ""}
        writer = "flambe.cluster.service_unit"
        text = service_text.unit_text(writer, self.params, account.pw_name, account.pw_dir, depends)
        needs = [one["path"] for one in self.params["files"]]
        outdated = self.systemd.put(text, self.params["enabled"], needs) or any(changed)
        if self.params["state"] == "present":
            return
        state = self.systemd.show()
        active = state.get("ActiveState")
        if self.params["state"] == "stopped":
            self.stop(state)
        elif outdated or active != "active":
            self.start(active)

    def own_folder(self, path):
        """Create a folder that only the user can access."""
        account = self.account
        if os.path.isdir(path) and os.stat(path).st_uid == account.pw_uid and files.mode_of(path) == 0o700:
            return
        self.systemd.note(f"make {path}", "folder")
        if not self.dry:
            os.makedirs(path, mode=0o700, exist_ok=True)
            os.chown(path, account.pw_uid, account.pw_gid)
            os.chmod(path, 0o700)

    def write_file(self, one):
        """Write one file if needed; return whether it changes."""
        files.ensure_folder(os.path.dirname(one["path"]), 0o755, dry=self.dry)
        content = one["content"].replace(PYTHON, shlex.quote(accounts.interpreter()))
        return self.systemd.write(one["path"], content, int(one["mode"], 8))

    def start(self, active):
        """Start or restart the service, and wait until it listens."""
        self.systemd.note("{} {}".format("restart" if active == "active" else "start", self.params["name"]))
        if not self.dry:
            self.systemd.restart()
            self.await_port()

    def stop(self, state):
        """Stop the service if it runs, or if systemd is about to start it."""
        if not systemd.has_ended(state):
            self.systemd.note("stop {}".format(self.params["name"]))
            if not self.dry:
                self.systemd.call("stop", self.params["name"])

    def await_port(self):
        """Wait until the service listens; raises UnitError if it ended, or does not listen in time."""
        host, port, timeout, setting = (self.params[name] for name in ("host", "port", "timeout", "timeout_setting"))
        end = time.monotonic() + timeout
        while port:
            progress.report(f"waiting until {self.params['name']} listens on port {port}")
            state = self.systemd.show()
            if systemd.has_ended(state):
                raise UnitError(f"{self.params['name']} is {state.get('ActiveState')} ({state.get('Result')})")
            try:
                socket.create_connection((host, port), 1).close()
                return
            except OSError as error:
                if time.monotonic() > end:
                    late = f"{self.params['name']} does not listen at {host}:{port} after {timeout:g} s: {error}"
                    raise UnitError(f"{late}; raise {setting} to allow more") from error
            time.sleep(0.3)
