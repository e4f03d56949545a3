"""Ray on one host: what it should be, and the steps that make it so."""

from __future__ import annotations

import glob
import hashlib
import ipaddress
import json
import os
import socket
import time

from ansible_collections.flambe.cluster.plugins.module_utils import account as accounts
from ansible_collections.flambe.cluster.plugins.module_utils import cluster_ssh, files, ray_unit, venv
from ansible_collections.flambe.cluster.plugins.module_utils.systemd import Systemd

SCRIPT = "ray_nodes.py"
NODE_ADDRESS = "flambe_node_address"
TMPFILES = "/etc/tmpfiles.d/flambe-ray.conf"


class RayNodeError(Exception):
    """Ray could not be brought to its state."""


class Node:
    """Ray on this host, as the module's parameters ask for it."""

    def __init__(self, params, account, dry):
        self.params = params
        self.account = account
        self.dry = dry
        self.systemd = Systemd(params["unit"])
        self.runtime = params["runtime"].rstrip("/")
        self.root = params["root"].rstrip("/")
        self.command = os.path.join(self.root, "bin/ray-nodes")
        self.script = os.path.join(self.root, "bin", SCRIPT)
        self.actions = []
        self.diff = {}
        self.head_address = resolve(params["head_address"]) if params["head_address"] else ""
        self.address = params["address"] or cluster_ssh.own_address(self.head_address or "192.0.2.1")
        if params["head"]:
            self.head_address = self.address

    def converge(self):
        """Bring files and unit to their state."""
        version = venv.installed(self.runtime).get("ray", ("",))[0]
        if not version:
            if not self.dry:
                raise RayNodeError(f"there is no Ray in {self.runtime}")
            self.actions.append("write and start {}".format(self.params["unit"]))
            return
        if not self.address or not self.head_address:
            raise RayNodeError(
                "this host's or the head's private address is not known: set ray_node_address, ray_node_head_address"
            )
        self.write_helpers(version)
        before = files.read(self.systemd.path)
        text = self.unit_text(version, before)
        if self.params["start"]:
            self.bring_up(before, text)

    def write_helpers(self, version):
        """Write ray-nodes, keep /tmp/ray from the cleaner of /tmp, and tell old Ray its address."""
        address = "{}:{}".format(self.head_address, self.params["port"])
        wrapper = ray_unit.wrapper_text(self.runtime, self.script, address)
        files.ensure_folder(os.path.dirname(self.command), 0o755, dry=self.dry)
        for path, text, mode in (
            (self.script, self.params["script"], 0o644),
            (self.command, wrapper, 0o755),
            (TMPFILES, "x /tmp/ray\n", 0o644),
            *self.address_files(version, address),
        ):
            if files.ensure(path, text, mode, dry=self.dry):
                self.actions.append(f"write {path}")

    def address_files(self, version, head):
        """Write what has old Ray take this host by its address on the way to the head: (path, text, mode)."""
        sites = os.path.join(glob.escape(self.runtime), "lib/python3.*/site-packages")
        for site in glob.glob(sites) if self.address_script(version) else ():
            line = f"import {NODE_ADDRESS}; {NODE_ADDRESS}.towards('{head}')\n"
            yield os.path.join(site, NODE_ADDRESS + ".py"), self.address_script(version), 0o644
            yield os.path.join(site, NODE_ADDRESS + ".pth"), line, 0o644

    def address_script(self, version):
        """Tell which module has this Ray find its address; empty for one that needs none."""
        return self.params["address_script"] if ray_unit.is_old(version) else ""

    def unit_text(self, version, before):
        """Write the unit as it should be."""
        head = self.params["head"]
        head_id = "" if head else self.params["head_id"] or ray_unit.read_depends(before, "head")
        options = ray_unit.start_options(version, head, self.address, self.head_address, self.params["port"])
        script = self.address_script(version)
        return ray_unit.unit_text(
            description="Ray (%s)" % ("head" if head else "worker"),
            user=self.account.pw_name,
            home=self.account.pw_dir,
            runtime=self.runtime,
            command=[os.path.join(self.runtime, "bin/ray"), "start", *options],
            wait=[] if head else [self.command, "--wait", "--timeout", str(ray_unit.HEAD_TIMEOUT)],
            depends={
                "runtime": self.runtime_id(version),
                "head": head_id,
                "address": hashlib.sha256(script.encode()).hexdigest()[:12] if script else "",
            },
        )

    def runtime_id(self, version):
        """Tell one installation of the runtime from the next."""
        serial = venv.read_marker(self.runtime).get("serial")
        if serial:
            return f"{version} {serial}"
        folders = glob.glob(os.path.join(glob.escape(self.runtime), "lib/python3.*/site-packages/ray-*.dist-info"))
        return f"{version} {os.stat(folders[0]).st_mtime:.0f}"

    def bring_up(self, before, text):
        """Write the unit where it differs, enable it, start or restart it; does not wait."""
        state = self.systemd.show()
        # A start that waits for the head by an older ray-nodes would go on doing so.
        running = state.get("ActiveState") in ("active", *(() if self.actions else ("activating",)))
        if before != text:
            self.actions.append(f"write {self.systemd.path}")
            self.diff = {
                "before_header": self.systemd.path,
                "after_header": self.systemd.path,
                "before": before or "",
                "after": text,
            }
        if state.get("UnitFileState") != "enabled":
            self.actions.append("enable {}".format(self.params["unit"]))
        if before != text and running:
            self.actions.append(f"restart Ray: {self.reason(before, text)}")
        elif not running:
            was = state.get("Result", "")
            self.actions.append(
                "start Ray%s" % (f" (it had ended: {was})" if before and was not in ("", "success") else "")
            )
        if self.dry:
            return
        if before != text:
            files.write(self.systemd.path, text, 0o644)
        if before != text or state.get("NeedDaemonReload") == "yes":
            self.systemd.call("daemon-reload")
        if state.get("UnitFileState") != "enabled":
            self.systemd.call("enable", "--quiet", self.params["unit"])
        if before != text or not running:
            self.systemd.call("reset-failed", self.params["unit"], check=False)
            # The head forks at once; a factory's start lasts as long as it waits for the head.
            self.systemd.call("restart", *([] if self.params["head"] else ["--no-block"]), self.params["unit"])

    def reason(self, before, text):
        """Tell what changed."""
        for name, words in (
            ("runtime", "its runtime changed"),
            ("head", "its head was restarted"),
            ("address", "how it finds its address changed"),
        ):
            if ray_unit.read_depends(before, name) != ray_unit.read_depends(text, name):
                return words
        return "its unit changed"

    def await_unit(self, deadline):
        """Wait until the unit runs.

        Raises:
            RayNodeError: It ended.
        """
        while True:
            state = self.systemd.show()
            active = state.get("ActiveState")
            if active == "active":
                return
            if active not in ("activating", "deactivating", "reloading"):
                raise RayNodeError("{} is {} ({})".format(self.params["unit"], active, state.get("Result")))
            if time.monotonic() > deadline:
                raise RayNodeError("{} is still {} ({})".format(self.params["unit"], active, state.get("SubState")))
            time.sleep(0.2)

    def await_nodes(self, deadline):
        """Wait until Ray calls the expected nodes alive; return those that it does not, and its last error."""
        while True:
            document = self.ask()
            missing = ray_unit.missing_nodes(document, self.params["expect"])
            if not missing or time.monotonic() > deadline:
                return missing, document.get("error", "")
            if self.systemd.show().get("ActiveState") != "active":
                raise RayNodeError("{} ended while its nodes were waited for".format(self.params["unit"]))
            time.sleep(0.5)

    def ask(self):
        """Ask Ray for its nodes."""
        argv = ["/bin/sh", "-c", 'exec "$0" 2>/dev/null', self.command]
        code, output = accounts.run(self.account, argv, timeout=60)
        try:
            return json.loads(output)
        except ValueError:
            return {"error": f"ray-nodes ended with {code}: {accounts.tail(output, 3)}"}


def resolve(name):
    """Find the address behind a name; an address is its own."""
    try:
        return str(ipaddress.ip_address(name))
    except ValueError:
        pass
    try:
        return socket.gethostbyname(name)
    except OSError:
        raise RayNodeError(f"this host cannot resolve the head's name {name}: set ray_node_head_address") from None
