"""Ray on one host: files, unit and process, and the wait for its nodes."""

from __future__ import annotations

import glob
import hashlib
import ipaddress
import json
import os
import socket
import time

from ansible_collections.flambe.cluster.plugins.module_utils import account as accounts
from ansible_collections.flambe.cluster.plugins.module_utils import cluster_ssh, files, ports, ray_unit, venv
from ansible_collections.flambe.cluster.plugins.module_utils.systemd import Systemd

SCRIPT = "ray_nodes.py"
NODE_ADDRESS = "flambe_node_address"
TMPFILES = "/etc/tmpfiles.d/flambe-ray.conf"
_QUERY_SECONDS = 15  # the limit of the first query of Ray; slow hosts get more


class RayNodeError(Exception):
    """Ray does not run on this host."""


class Node:
    """Ray on this host, as the module's parameters describe it."""

    def __init__(self, params, account, dry):
        self.params = params
        self.account = account
        self.dry = dry
        self.systemd = Systemd(params["unit"], dry)
        self.runtime = params["runtime"].rstrip("/")
        self.root = params["root"].rstrip("/")
        self.command = os.path.join(self.root, "bin/ray-nodes")
        self.script = os.path.join(self.root, "bin", SCRIPT)
        self.actions = self.systemd.actions
        self.head_address = resolve(params["head_address"]) if params["head_address"] else ""
        self.address = params["address"] or cluster_ssh.own_address(self.head_address or "192.0.2.1")
        if params["head"]:
            self.head_address = self.address

    def converge(self):
        """Bring files and unit to the wanted state."""
        version = venv.installed(self.runtime).get("ray", ("",))[0]
        if not version:
            if not self.dry:
                raise RayNodeError(f"Ray is not installed in {self.runtime}")
            self.actions.append("write and start {}".format(self.params["unit"]))
            return
        if not self.address or not self.head_address:
            raise RayNodeError(
                "the private address of this host or the head is unknown: set ray_node_address, ray_node_head_address"
            )
        self.write_helpers(version)
        before = files.read(self.systemd.path)
        text = self.unit_text(version, before)
        if self.params["start"]:
            self.bring_up(before, text)

    def write_helpers(self, version):
        """Write ray-nodes, exclude /tmp/ray from the cleanup of /tmp, and set the address for old Ray."""
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
        """Yield (path, text, mode) of the files that make old Ray use this host's address towards the head."""
        sites = os.path.join(glob.escape(self.runtime), "lib/python3.*/site-packages")
        for site in glob.glob(sites) if self.address_script(version) else ():
            line = f"import {NODE_ADDRESS}; {NODE_ADDRESS}.towards('{head}')\n"
            yield os.path.join(site, NODE_ADDRESS + ".py"), self.address_script(version), 0o644
            yield os.path.join(site, NODE_ADDRESS + ".pth"), line, 0o644

    def address_script(self, version):
        """Return the module that sets the address for this version of Ray; "" if it needs none."""
        return self.params["address_script"] if ray_unit.is_old(version) else ""

    def unit_text(self, version, before):
        """Write the text of the wanted unit."""
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
        """Return an id that changes with each installation of the runtime."""
        serial = venv.read_marker(self.runtime).get("serial")
        if serial:
            return f"{version} {serial}"
        folders = glob.glob(os.path.join(glob.escape(self.runtime), "lib/python3.*/site-packages/ray-*.dist-info"))
        return f"{version} {os.stat(folders[0]).st_mtime:.0f}"

    def bring_up(self, before, text):
        """Write and enable the unit, start or restart it; does not wait."""
        state = self.systemd.show()
        # A worker that waits for the head with an outdated ray-nodes must be restarted, too.
        waiting = state.get("ActiveState") == "activating"
        running = state.get("ActiveState") == "active" or (waiting and not self.actions)
        outdated = self.systemd.put(text, enabled=True, needs=[self.script, self.command] if waiting else ())
        if outdated and running:
            self.actions.append(f"restart Ray: {self.reason(before, text)}")
        elif not running:
            result = state.get("Result", "")
            self.actions.append(
                "start Ray%s" % (f" (it had ended: {result})" if before and result not in ("", "success") else "")
            )
        if self.dry or (running and not outdated):
            return
        if self.params["head"] and not running:
            self.refuse_foreign_listener()
        # The head forks at once; the start of a worker lasts until it has joined the head.
        self.systemd.restart(*([] if self.params["head"] else ["--no-block"]))

    def refuse_foreign_listener(self):
        """Check that no other process listens on the head's port.

        Raises:
            RayNodeError: One does; it names the process.
        """
        found = ports.find_foreign(self.params["port"], self.params["unit"])
        if found:
            raise RayNodeError(f"{found} or set ray_node_port to a free port")

    def reason(self, before, text):
        """Return why Ray is restarted."""
        for name, words in (
            ("runtime", "its runtime changed"),
            ("head", "its head was restarted"),
            ("address", "the detection of its address changed"),
        ):
            if ray_unit.read_depends(before, name) != ray_unit.read_depends(text, name):
                return words
        return "its unit changed" if before != text else "its files changed after it was started"

    def await_unit(self, deadline):
        """Wait until the unit runs.

        Raises:
            RayNodeError: It ended, or it still waits at the deadline.
        """
        while True:
            state = self.systemd.show()
            active = state.get("ActiveState")
            if active == "active":
                return
            if active not in ("activating", "deactivating", "reloading"):
                raise RayNodeError("{} is {} ({})".format(self.params["unit"], active, state.get("Result")))
            if time.monotonic() > deadline:
                raise RayNodeError(self.still(active, state))
            time.sleep(0.2)

    def still(self, active, state):
        """Describe a unit that did not start in time."""
        return "{} is still {} ({}) after {:g} s; raise ray_node_timeout to allow more".format(
            self.params["unit"], active, state.get("SubState"), self.params["timeout"]
        )

    def await_nodes(self, deadline):
        """Wait until the expected nodes are alive; return the names of those that are not, and Ray's last error."""
        limit = _QUERY_SECONDS
        while True:
            begun = time.monotonic()
            document = self.read_nodes(max(min(limit, deadline - begun), 5))
            missing = ray_unit.missing_nodes(document, self.params["expect"])
            if not missing or time.monotonic() > deadline:
                return missing, document.get("error", "")
            if self.systemd.show().get("ActiveState") != "active":
                raise RayNodeError("{} ended before all nodes were alive".format(self.params["unit"]))
            # A slow host may need longer only to import Ray.
            limit *= 2 if time.monotonic() - begun >= limit else 1
            time.sleep(0.5)

    def read_nodes(self, limit):
        """Run ray-nodes; return its document.

        Args:
            limit: Seconds until ray-nodes gives up.
        """
        argv = ["/bin/sh", "-c", 'exec "$0" "$@" 2>/dev/null', self.command, "--timeout", f"{limit:.0f}"]
        try:
            code, output = accounts.run(self.account, argv, timeout=limit + 15, shown="ray-nodes")
        except accounts.CommandTimeoutError as error:
            return {"error": str(error)}
        try:
            return json.loads(output)
        except ValueError:
            return {"error": f"ray-nodes ended with {code}: {accounts.tail(output, 3)}"}


def resolve(name):
    """Resolve a name; an address is returned unchanged."""
    try:
        return str(ipaddress.ip_address(name))
    except ValueError:
        pass
    try:
        return socket.gethostbyname(name)
    except OSError:
        raise RayNodeError(f"this host cannot resolve the head's name {name}: set ray_node_head_address") from None
