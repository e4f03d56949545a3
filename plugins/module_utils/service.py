"""One command as a systemd unit on this host: what it should be, and the steps that make it so."""

from __future__ import annotations

import os
import socket
import time

from ansible_collections.flambe.cluster.plugins.module_utils import files, service_text, venv
from ansible_collections.flambe.cluster.plugins.module_utils.systemd import Systemd


class ServiceError(Exception):
    """The service does not run."""


class Service:
    """The service, as a module's parameters ask for it.

    Attributes:
        actions: What was done, or would be.
        diff: The unit before and after, where it changes.
    """

    def __init__(self, params, account, dry):
        self.params = params
        self.account = account
        self.dry = dry
        self.systemd = Systemd(params["name"])
        self.actions = []
        self.diff = {}

    def converge(self):
        """Bring folders, files, unit and process to their state."""
        for path in self.params["folders"]:
            self.own_folder(path)
        changed = [self.write_file(one) for one in self.params["files"]]
        text = service_text.unit_text(
            "flambe.cluster.service_unit", self.params, self.account.pw_name, self.account.pw_dir, self.depends()
        )
        stale = self.write_unit(text) or any(changed)
        if self.params["state"] == "present":
            return
        active = self.systemd.show().get("ActiveState")
        if self.params["state"] == "stopped":
            self.stop(active)
        elif stale or active != "active":
            self.start(active)

    def depends(self):
        """Tell one installation of the runtime from the next."""
        runtime = self.params["runtime"]
        return {"runtime": venv.read_marker(runtime).get("serial", "") if runtime else ""}

    def own_folder(self, path):
        """Bring a folder of the user's alone to existence."""
        account = self.account
        if os.path.isdir(path):
            status = os.stat(path)
            if status.st_uid == account.pw_uid and status.st_mode & 0o777 == 0o700:
                return
        self.actions.append(f"make {path}")
        if not self.dry:
            os.makedirs(path, mode=0o700, exist_ok=True)
            os.chown(path, account.pw_uid, account.pw_gid)
            os.chmod(path, 0o700)

    def write_file(self, one):
        """Bring one file to its content; returns whether it was another."""
        path, mode = one["path"], int(one.get("mode") or "0644", 8)
        files.ensure_folder(os.path.dirname(path), 0o755, dry=self.dry)
        if not files.ensure(path, one["content"], mode, dry=self.dry):
            return False
        self.actions.append(f"write {path}")
        return True

    def write_unit(self, text):
        """Bring the unit to its text; returns whether it was another."""
        before = files.read(self.systemd.path)
        enabled = self.systemd.show().get("UnitFileState") == "enabled"
        if before != text:
            self.actions.append(f"write {self.systemd.path}")
            self.diff = {
                "before_header": self.systemd.path,
                "after_header": self.systemd.path,
                "before": before or "",
                "after": text,
            }
            if not self.dry:
                files.write(self.systemd.path, text, 0o644)
                self.systemd.call("daemon-reload")
        if self.params["enabled"] and not enabled:
            self.actions.append("enable {}".format(self.params["name"]))
            if not self.dry:
                self.systemd.call("enable", "--quiet", self.params["name"])
        return before != text

    def start(self, active):
        """Start or restart the service, and wait until it answers."""
        self.actions.append("{} {}".format("restart" if active == "active" else "start", self.params["name"]))
        if self.dry:
            return
        self.systemd.call("reset-failed", self.params["name"], check=False)
        self.systemd.call("restart", self.params["name"])
        self.await_port()

    def stop(self, active):
        """Stop the service where it runs."""
        if active in ("active", "activating", "reloading"):
            self.actions.append("stop {}".format(self.params["name"]))
            if not self.dry:
                self.systemd.call("stop", self.params["name"])

    def await_port(self):
        """Wait until the service listens.

        Raises:
            ServiceError: It ended, or does not listen in time.
        """
        end = time.monotonic() + self.params["timeout"]
        while self.params["port"]:
            state = self.systemd.show()
            if state.get("ActiveState") not in ("active", "activating"):
                raise ServiceError(
                    "{} is {} ({})".format(self.params["name"], *map(state.get, ("ActiveState", "Result")))
                )
            try:
                socket.create_connection((self.params["host"], self.params["port"]), 1).close()
                return
            except OSError as error:
                if time.monotonic() > end:
                    place = "{}:{}".format(self.params["host"], self.params["port"])
                    raise ServiceError(f"nothing answers at {place}: {error}") from None
            time.sleep(0.3)
