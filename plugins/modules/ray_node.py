#!/usr/bin/python
# Copyright: the flambe-ansible contributors. MIT license.
"""Run Ray on a host as a systemd unit."""

from __future__ import annotations

DOCUMENTATION = r"""
module: ray_node
short_description: Bring Ray on a host to its wanted state, as a systemd unit
description:
  - Writes the unit and the command C(ray-nodes), enables the unit, and starts it.
  - Ray is restarted when something that it depends on changed (its runtime, the unit, the head that it joined), and started when
    it does not run.
options:
  user:
    description: Who runs Ray; empty for the user who connects.
    type: str
    default: ""
  unit:
    description: The unit's name.
    type: str
    default: flambe-ray.service
  runtime:
    description: The virtual environment that holds Ray.
    type: path
    required: true
  root:
    description: The folder below which C(bin/ray-nodes) is written.
    type: path
    required: true
  script:
    description: The text of the script behind C(ray-nodes).
    type: str
    required: true
  head:
    description: Whether this host is the head.
    type: bool
    required: true
  address:
    description: This host's own private address; empty for the one that it sends from towards the head.
    type: str
    default: ""
  head_address:
    description: The head's private address, or a name that this host can resolve. The head itself may leave it empty.
    type: str
    default: ""
  head_id:
    description: What this module returned as C(head_id) on the head; empty when the head was not looked at.
    type: str
    default: ""
  port:
    description: Where the head listens.
    type: int
    default: 12345
  start:
    description: V(false) only writes files and returns facts, for factories whose head is not up yet.
    type: bool
    default: true
  expect:
    description: Wait until Ray calls these nodes alive, name to address.
    type: dict
    default: {}
  timeout:
    description: Seconds to wait for the unit, and for the nodes of O(expect).
    type: float
    default: 90
author: [the flambe-ansible contributors]
attributes:
  check_mode:
    description: Says what would be done.
    support: full
  diff_mode:
    description: Shows the unit.
    support: full
"""

EXAMPLES = r"""
- name: Run the head
  flambe.cluster.ray_node:
    runtime: /opt/flambe/venv
    root: /opt/flambe
    script: "{{ lookup('ansible.builtin.file', 'ray_nodes.py') }}"
    head: true
    address: 10.0.0.4
"""

RETURN = r"""
address:
  description: This host's own address in Ray.
  type: str
  returned: success
head_id:
  description: On the head, what names this start of it.
  type: str
  returned: success
missing:
  description: Names of O(expect) that Ray does not call alive.
  type: list
  elements: str
  returned: success
actions:
  description: What was done.
  type: list
  elements: str
  returned: success
output:
  description: The last lines of the unit's journal.
  type: str
  returned: failure, or when nodes are missing
"""

import glob
import ipaddress
import json
import os
import socket
import subprocess
import time

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.flambe.cluster.plugins.module_utils import account as accounts
from ansible_collections.flambe.cluster.plugins.module_utils import cluster_ssh, files, ray_unit, venv

SCRIPT = "ray_nodes.py"
TMPFILES = "/etc/tmpfiles.d/flambe-ray.conf"


class Failed(Exception):
    """Ray could not be brought to its state."""


class Systemd:
    """One unit, as systemctl sees it."""

    def __init__(self, unit):
        self.unit = unit
        self.path = os.path.join("/etc/systemd/system", unit)

    def show(self):
        """Read the unit's properties."""
        names = "ActiveState,SubState,Result,InvocationID,UnitFileState,NeedDaemonReload"
        output = self.call("show", "--property", names, self.unit, check=False)
        return dict(line.split("=", 1) for line in output.splitlines() if "=" in line)

    def call(self, *argv, **options):
        """Run systemctl."""
        done = subprocess.run(
            ["systemctl", *argv], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False
        )
        output = done.stdout.decode("utf-8", "replace")
        if done.returncode and options.get("check", True):
            raise Failed("systemctl %s failed: %s" % (" ".join(argv), output.strip()))
        return output

    def log(self, lines=20):
        """Read the last lines of the unit's journal."""
        done = subprocess.run(
            ["journalctl", "--unit", self.unit, "--lines", str(lines), "--no-pager", "--output", "short-iso"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            check=False,
        )
        return done.stdout.decode("utf-8", "replace").strip()


class Node:
    """Ray on this host: what it should be, and the steps that make it so."""

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
                raise Failed("there is no Ray in %s" % self.runtime)
            self.actions.append("write and start %s" % self.params["unit"])
            return
        if not self.address or not self.head_address:
            raise Failed("this host's or the head's private address is not known: set ray_node_address, ray_node_head_address")
        self.write_helpers()
        before = files.read(self.systemd.path)
        text = self.unit_text(version, before)
        if self.params["start"]:
            self.bring_up(before, text)

    def write_helpers(self):
        """Write ray-nodes, and keep /tmp/ray from the cleaner of /tmp."""
        address = "%s:%d" % (self.head_address, self.params["port"])
        wrapper = ray_unit.wrapper_text(self.runtime, self.script, address)
        files.ensure_folder(os.path.dirname(self.command), 0o755, dry=self.dry)
        for path, text, mode in (
            (self.script, self.params["script"], 0o644),
            (self.command, wrapper, 0o755),
            (TMPFILES, "x /tmp/ray\n", 0o644),
        ):
            if files.ensure(path, text, mode, dry=self.dry):
                self.actions.append("write %s" % path)

    def unit_text(self, version, before):
        """Write the unit as it should be."""
        head = self.params["head"]
        head_id = "" if head else self.params["head_id"] or ray_unit.read_depends(before, "head")
        options = ray_unit.start_options(version, head, self.address, self.head_address, self.params["port"])
        return ray_unit.unit_text(
            description="Ray (%s)" % ("head" if head else "worker"),
            user=self.account.pw_name,
            home=self.account.pw_dir,
            runtime=self.runtime,
            command=[os.path.join(self.runtime, "bin/ray"), "start", *options],
            wait=[] if head else [self.command, "--wait", "--timeout", str(ray_unit.HEAD_TIMEOUT)],
            depends={"runtime": self.runtime_id(version), "head": head_id},
        )

    def runtime_id(self, version):
        """Tell one installation of the runtime from the next."""
        serial = venv.read_marker(self.runtime).get("serial")
        if serial:
            return "%s %s" % (version, serial)
        folders = glob.glob(os.path.join(glob.escape(self.runtime), "lib/python3.*/site-packages/ray-*.dist-info"))
        return "%s %d" % (version, os.stat(folders[0]).st_mtime)

    def bring_up(self, before, text):
        """Write the unit where it differs, enable it, start or restart it; does not wait."""
        state = self.systemd.show()
        # A start that waits for the head by an older ray-nodes would go on doing so.
        running = state.get("ActiveState") in ("active", *(() if self.actions else ("activating",)))
        if before != text:
            self.actions.append("write %s" % self.systemd.path)
            self.diff = dict(before_header=self.systemd.path, after_header=self.systemd.path, before=before or "", after=text)
        if state.get("UnitFileState") != "enabled":
            self.actions.append("enable %s" % self.params["unit"])
        if before != text and running:
            self.actions.append("restart Ray: %s" % self.reason(before, text))
        elif not running:
            was = state.get("Result", "")
            self.actions.append("start Ray%s" % (" (it had ended: %s)" % was if before and was not in ("", "success") else ""))
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
        for name, words in (("runtime", "its runtime changed"), ("head", "its head was restarted")):
            if ray_unit.read_depends(before, name) != ray_unit.read_depends(text, name):
                return words
        return "its unit changed"

    def await_unit(self, deadline):
        """Wait until the unit runs.

        Raises:
            Failed: It ended.
        """
        while True:
            state = self.systemd.show()
            active = state.get("ActiveState")
            if active == "active":
                return
            if active not in ("activating", "deactivating", "reloading"):
                raise Failed("%s is %s (%s)" % (self.params["unit"], active, state.get("Result")))
            if time.monotonic() > deadline:
                raise Failed("%s is still %s (%s)" % (self.params["unit"], active, state.get("SubState")))
            time.sleep(0.2)

    def await_nodes(self, deadline):
        """Wait until Ray calls the expected nodes alive; return the names of those that it does not, and its last answer."""
        while True:
            document = self.ask()
            missing = ray_unit.missing_nodes(document, self.params["expect"])
            if not missing or time.monotonic() > deadline:
                return missing, document.get("error", "")
            if self.systemd.show().get("ActiveState") != "active":
                raise Failed("%s ended while its nodes were waited for" % self.params["unit"])
            time.sleep(0.5)

    def ask(self):
        """Ask Ray for its nodes."""
        code, output = accounts.run(self.account, ["/bin/sh", "-c", 'exec "$0" 2>/dev/null', self.command], timeout=60)
        try:
            return json.loads(output)
        except ValueError:
            return {"error": "ray-nodes ended with %d: %s" % (code, accounts.tail(output, 3))}


def resolve(name):
    """Find the address behind a name; an address is its own."""
    try:
        return str(ipaddress.ip_address(name))
    except ValueError:
        pass
    try:
        return socket.gethostbyname(name)
    except OSError:
        raise Failed("this host cannot resolve the head's name %s: set ray_node_head_address" % name) from None


def main():
    """Run the module."""
    module = AnsibleModule(
        argument_spec=dict(
            user=dict(type="str", default=""),
            unit=dict(type="str", default="flambe-ray.service"),
            runtime=dict(type="path", required=True),
            root=dict(type="path", required=True),
            script=dict(type="str", required=True),
            head=dict(type="bool", required=True),
            address=dict(type="str", default=""),
            head_address=dict(type="str", default=""),
            head_id=dict(type="str", default=""),
            port=dict(type="int", default=12345),
            start=dict(type="bool", default=True),
            expect=dict(type="dict", default={}),
            timeout=dict(type="float", default=90),
        ),
        supports_check_mode=True,
    )
    try:
        account = accounts.find(module.params["user"])
    except KeyError:
        module.fail_json(msg="there is no user %s on this host" % module.params["user"])
    systemd = Systemd(module.params["unit"])
    try:
        node = Node(module.params, account, module.check_mode)
        node.converge()
        missing, answer = settle(module, node)
    except Failed as error:
        log = systemd.log()
        shown = accounts.tail(log, 10)
        module.fail_json(msg="Ray does not run here: %s%s" % (error, "\n" + shown if shown else ""), output=log)
    except OSError as error:
        module.fail_json(msg="Ray could not be set up: %s" % error)
    module.exit_json(
        changed=bool(node.actions),
        actions=node.actions,
        address=node.address,
        head_id=systemd.show().get("InvocationID", "") if module.params["head"] else "",
        missing=missing,
        answer=answer,
        diff=node.diff,
        output=systemd.log() if missing else "",
        msg="; ".join(node.actions) or "nothing to do",
    )


def settle(module, node):
    """Wait for what was asked for; nothing in check mode."""
    if module.check_mode or not module.params["start"]:
        return [], ""
    deadline = time.monotonic() + module.params["timeout"]
    if not module.params["head"] or module.params["expect"]:
        node.await_unit(deadline)
    if not module.params["expect"]:
        return [], ""
    return node.await_nodes(deadline)


if __name__ == "__main__":
    main()
