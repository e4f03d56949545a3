"""One command as a systemd unit on this host: folders, files, unit and process."""

from __future__ import annotations

import os
import socket
import time

from ansible_collections.flambe.cluster.plugins.module_utils import files, service_text, venv
from ansible_collections.flambe.cluster.plugins.module_utils.systemd import RUNNING, Systemd


class ServiceError(Exception):
    """The service does not run."""


class Service:
    """The service that a module's parameters describe."""

    def __init__(self, params, account, dry):
        self.params = params
        self.account = account
        self.dry = dry
        self.systemd = Systemd(params["name"], dry)
        self.actions = self.systemd.actions

    def converge(self):
        """Bring folders, files, unit and process to the wanted state."""
        for path in self.params["folders"]:
            self.own_folder(path)
        changed = [self.write_file(one) for one in self.params["files"]]
        text = service_text.unit_text(
            "flambe.cluster.service_unit", self.params, self.account.pw_name, self.account.pw_dir, self.depends()
        )
        needs = [one["path"] for one in self.params["files"]]
        outdated = self.systemd.put(text, self.params["enabled"], needs) or any(changed)
        if self.params["state"] == "present":
            return
        active = self.systemd.show().get("ActiveState")
        if self.params["state"] == "stopped":
            self.stop(active)
        elif outdated or active != "active":
            self.start(active)

    def depends(self):
        """Return what the unit depends on: the installation of the runtime."""
        runtime = self.params["runtime"]
        return {"runtime": venv.read_marker(runtime).get("serial", "") if runtime else ""}

    def own_folder(self, path):
        """Create a folder that only the user can access."""
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
        """Write one file if needed; return whether it changes."""
        path, mode = one["path"], int(one.get("mode") or "0644", 8)
        files.ensure_folder(os.path.dirname(path), 0o755, dry=self.dry)
        if not files.ensure(path, one["content"], mode, dry=self.dry):
            return False
        self.actions.append(f"write {path}")
        return True

    def start(self, active):
        """Start or restart the service, and wait until it listens."""
        self.actions.append("{} {}".format("restart" if active == "active" else "start", self.params["name"]))
        if self.dry:
            return
        self.systemd.restart()
        self.await_port()

    def stop(self, active):
        """Stop the service if it runs."""
        if active in RUNNING:
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
                    limit = "{:g} s".format(self.params["timeout"])
                    raise ServiceError(f"nothing listens at {place} after {limit}: {error}") from error
            time.sleep(0.3)
