"""Ray on one host: files, unit and process, and the wait for its nodes."""

from __future__ import annotations

import glob
import hashlib
import json
import os
import socket
import time

from ansible_collections.flambe.cluster.plugins.module_utils import account as accounts
from ansible_collections.flambe.cluster.plugins.module_utils import cluster_ssh, files, ports, progress, ray_unit, venv
from ansible_collections.flambe.cluster.plugins.module_utils.systemd import Systemd, UnitError

SCRIPT = "ray_nodes.py"
NODE_ADDRESS = "flambe_node_address"
TMPFILES = "/etc/tmpfiles.d/flambe-ray.conf"
_QUERY_SECONDS = 15  # the limit of the first query of Ray; slow hosts get more


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
        self.head_address = resolve(params["head_address"]) if params["head_address"] else ""
        self.address = params["address"] or cluster_ssh.own_address(self.head_address or "192.0.2.1")
        if params["head"]:
            self.head_address = self.address

    def converge(self):
        """Bring files and unit to the wanted state."""
        version, installation = venv.installed(self.runtime).get("ray", ("", ""))
        if not version:
            if not self.dry:
                raise UnitError(f"Ray is not installed in {self.runtime}")
            self.systemd.note("write and start {}".format(self.params["unit"]))
            return
        if not self.address or not self.head_address:
            raise UnitError(
                "the private address of this host or the head is unknown: set ray_node_address, ray_node_head_address"
            )
        address_script = self.params["address_script"] if ray_unit.is_old(version) else ""
        self.write_helpers(address_script)
        before = files.read(self.systemd.path)
        serial = venv.read_marker(self.runtime).get("serial") or f"{os.stat(installation).st_mtime:.0f}"
        depends = {
            "runtime": f"{version} {serial}",
            "head": "" if self.params["head"] else self.params["head_id"] or ray_unit.read_depends(before, "head"),
            "address": hashlib.sha256(address_script.encode()).hexdigest()[:12] if address_script else "",
        }
        text = self.unit_text(version, depends)
        if self.params["start"]:
            self.bring_up(before, text)

    def write_helpers(self, address_script):
        """Write ray-nodes, exclude /tmp/ray from the cleanup of /tmp, and set the address for old Ray."""
        head = "{}:{}".format(self.head_address, self.params["port"])
        files.ensure_folder(os.path.dirname(self.command), 0o755, dry=self.dry)
        self.systemd.write(self.script, self.params["script"], 0o644)
        self.systemd.write(self.command, ray_unit.wrapper_text(self.runtime, self.script, head), 0o755)
        self.systemd.write(TMPFILES, "x /tmp/ray\n", 0o644)
        sites = os.path.join(glob.escape(self.runtime), "lib/python3.*/site-packages")
        for site in glob.glob(sites) if address_script else ():
            line = f"import {NODE_ADDRESS}; {NODE_ADDRESS}.towards('{head}')\n"
            self.systemd.write(os.path.join(site, NODE_ADDRESS + ".py"), address_script, 0o644)
            self.systemd.write(os.path.join(site, NODE_ADDRESS + ".pth"), line, 0o644)

    def unit_text(self, version, depends):
        """Write the text of the wanted unit."""
        head = self.params["head"]
        options = ray_unit.start_options(version, head, self.address, self.head_address, self.params["port"])
        return ray_unit.unit_text(
            description="Ray (%s)" % ("head" if head else "worker"),
            user=self.account.pw_name,
            home=self.account.pw_dir,
            runtime=self.runtime,
            command=[os.path.join(self.runtime, "bin/ray"), "start", *options],
            wait=[] if head else [self.command, "--wait", "--timeout", str(ray_unit.HEAD_TIMEOUT)],
            depends=depends,
        )

    def bring_up(self, before, text):
        """Write and enable the unit, start or restart it; does not wait."""
        state = self.systemd.show()
        # A worker that waits for the head with an outdated ray-nodes must be restarted, too.
        waiting = state.get("ActiveState") == "activating"
        running = state.get("ActiveState") == "active" or (waiting and not self.systemd.actions)
        needs = [self.script, self.command] if waiting else ()
        if not self.params["restart"]:
            self.systemd.protect(text, needs, find_reason)
        outdated = self.systemd.put(text, enabled=True, needs=needs)
        if outdated and running:
            self.systemd.note(f"restart Ray: {find_reason(before, text)}")
        elif not running:
            failed = before and state.get("Result", "") not in ("", "success")
            self.systemd.note("start Ray" + (f" (it had ended: {state['Result']})" if failed else ""))
        if self.dry or (running and not outdated):
            return
        if self.params["head"] and not running:
            found = ports.find_foreign(self.params["port"], self.params["unit"])
            if found:
                raise UnitError(f"{found} or set ray_node_port to a free port")
        # The head forks at once; the start of a worker lasts until it has joined the head.
        self.systemd.restart(*([] if self.params["head"] else ["--no-block"]))

    def settle(self):
        """Wait for the unit and the expected nodes; return the names of the missing nodes, and Ray's last error."""
        deadline = time.monotonic() + self.params["timeout"]
        if not self.params["head"] or self.params["expect"]:
            self.await_unit(deadline)
        return self.await_nodes(deadline) if self.params["expect"] else ([], "")

    def await_unit(self, deadline):
        """Wait until the unit runs; raises UnitError if it ended, or still waits at the deadline."""
        unit, timeout = self.params["unit"], self.params["timeout"]
        while True:
            state = self.systemd.show()
            active = state.get("ActiveState")
            if active == "active":
                return
            progress.report("waiting for the head" if state.get("SubState") == "start-pre" else f"starting {unit}")
            if active not in ("activating", "deactivating", "reloading"):
                raise UnitError(f"{unit} is {active} ({state.get('Result')})")
            if time.monotonic() > deadline:
                still = f"{unit} is still {active} ({state.get('SubState')}) after {timeout:g} s"
                raise UnitError(f"{still}; raise ray_node_timeout (answer_timeout in a cluster.yaml) to allow more")
            time.sleep(0.2)

    def await_nodes(self, deadline):
        """Wait until the expected nodes are alive; see ``settle``."""
        limit = _QUERY_SECONDS
        while True:
            begun = time.monotonic()
            document = self.read_nodes(max(min(limit, deadline - begun), 5))
            missing = ray_unit.missing_nodes(document, self.params["expect"])
            if not missing or time.monotonic() > deadline:
                return missing, document.get("error", "")
            if self.systemd.show().get("ActiveState") != "active":
                raise UnitError("{} ended before all nodes were alive".format(self.params["unit"]))
            expected = accounts.count(len(self.params["expect"]), "node")
            progress.report("waiting for {} of {}: {}".format(len(missing), expected, ", ".join(missing)))
            # A slow host may need longer only to import Ray.
            limit *= 2 if time.monotonic() - begun >= limit else 1
            time.sleep(0.5)

    def read_nodes(self, limit):
        """Run ray-nodes with a limit in seconds; return its document."""
        argv = ["/bin/sh", "-c", 'exec "$0" "$@" 2>/dev/null', self.command, "--timeout", f"{limit:.0f}"]
        try:
            code, output = accounts.run(self.account, argv, timeout=limit + 15, shown="ray-nodes")
        except accounts.CommandTimeoutError as error:
            return {"error": str(error)}
        try:
            return json.loads(output)
        except ValueError:
            return {"error": f"ray-nodes ended with {code}: {accounts.tail(output, 3)}"}


def find_reason(before, text):
    """Return why Ray is restarted: what differs between the previous and the wanted unit."""
    for name, words in (
        ("runtime", "its runtime changed"),
        ("head", "its head was restarted"),
        ("address", "the detection of its address changed"),
    ):
        if ray_unit.read_depends(before, name) != ray_unit.read_depends(text, name):
            return words
    return "its unit changed" if before != text else "its files changed after it was started"


def resolve(name):
    """Resolve a name; an address is returned unchanged."""
    if cluster_ssh.is_address(name):
        return name
    try:
        return socket.gethostbyname(name)
    except OSError:
        raise UnitError(f"this host cannot resolve the head's name {name}: set ray_node_head_address") from None
