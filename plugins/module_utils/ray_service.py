"""Ray on one host: files, unit and process."""

from __future__ import annotations

import contextlib
import glob
import hashlib
import os
import socket

from ansible_collections.flambe.cluster.plugins.module_utils import account as accounts
from ansible_collections.flambe.cluster.plugins.module_utils import (
    cluster_ssh,
    files,
    nvidia_smi,
    ports,
    ray_firewall,
    ray_settings,
    ray_token,
    ray_unit,
    ray_versions,
    venv,
)
from ansible_collections.flambe.cluster.plugins.module_utils.systemd import (
    RUNNING,
    Systemd,
    UnitError,
    is_outdated,
)

SCRIPT = "ray_nodes.py"
NODE_ADDRESS = "flambe_node_address"
TMPFILES = "/etc/tmpfiles.d/flambe-ray.conf"
LOST_SESSION = "its folder for sockets and logs was removed"
CLIENT_PACKAGE = "grpcio"  # comes with ray[client] and ray[default]
DASHBOARD_PACKAGE = "aiohttp-cors"  # comes with ray[default]


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
        self.firewall = os.path.join(self.root, "bin/ray-firewall")
        self.head_address = resolve(params["head_address"]) if params["head_address"] else ""
        self.address = params["address"] or cluster_ssh.own_address(self.head_address or "192.0.2.1")
        if params["head"]:
            self.head_address = self.address
        self.packages = venv.installed(self.runtime)
        self.version, self.installation = self.packages.get("ray", ("", ""))
        self.port = ray_versions.choose_port(self.version, params["port"]) if self.version else params["port"]
        needs_token = params["auth"] == "auto" and bool(self.version) and ray_versions.has_tokens(self.version)
        self.token = ray_token.Token(account, dry) if needs_token else None
        # flambé stops Ray 0.7 on purpose when an experiment ends; its workers do not rejoin a new head either.
        self.rejoins = bool(self.version) and not ray_versions.is_old(self.version)
        self.has_api = ray_versions.parse(self.version) >= ray_versions.STATE_API and DASHBOARD_PACKAGE in self.packages
        self.dashboard_url = "http://127.0.0.1:{}".format(params["dashboard_port"])
        self.started = self.restarted = False
        self.settled = not params["early"]  # whether the host does not depend on what the head does
        self.warnings = []

    def converge(self):
        """Bring files and unit to the wanted state."""
        if self.params["start"]:
            self.systemd.show_settled()
        if not self.version:
            if not self.dry:
                raise UnitError(f"Ray is not installed in {self.runtime}")
            self.systemd.note("write and start {}".format(self.params["unit"]))
            return
        if not self.address or not self.head_address:
            raise UnitError(
                "the private address of this host or the head is unknown: set ray_node_address, ray_node_head_address"
            )
        self.check_versions()
        ray_settings.check_collisions(self.version, self.params)
        address_script = self.params["address_script"] if ray_versions.is_old(self.version) else ""
        self.write_token()
        self.write_firewall()
        self.write_helpers(address_script)
        before = files.read(self.systemd.path)
        serial = venv.read_marker(self.runtime).get("serial") or f"{os.stat(self.installation).st_mtime:.0f}"
        depends = {
            "runtime": f"{self.version} {serial}",
            "token": self.token.fingerprint if self.token else "",
            "head": self.find_head_id(before),
            "address": hashlib.sha256(address_script.encode()).hexdigest()[:12] if address_script else "",
        }
        text = self.unit_text(depends)
        if self.params["start"] and self.is_ready(before, text):
            self.bring_up(before, text)

    def is_ready(self, before, text):
        """Return whether the unit can be brought up; early only if no Ray runs that would have to be restarted.

        The unit of a Ray that rejoins its head by itself may be started before the head. Others need the head's id.
        """
        if not self.params["early"]:
            return True
        state = self.systemd.show()
        outdated = before != text or is_outdated(state, [self.systemd.path]) or self.lost_session(state)
        self.settled = self.rejoins and not (outdated and state.get("ActiveState") == "active")
        return self.settled

    def check_versions(self):
        """Raise UnitError if this worker has another Ray or Python than the head, which Ray refuses later."""
        own = self.versions()
        for name, head in self.params["head_versions"].items() if self.rejoins else ():
            if head and own.get(name) and own[name] != head:
                raise UnitError(f"{name} {own[name]} here, {head} on the head: all hosts need the same version")

    def versions(self):
        """Return the versions of Ray and Python that are installed here, "" if unknown."""
        return {"Ray": self.version, "Python": venv.python_version(self.runtime)}

    def find_head_id(self, before):
        """Return the id of the head's start that this worker joined; "" if Ray rejoins a new head by itself."""
        if self.params["head"] or self.rejoins:
            return ""
        return self.params["head_id"] or ray_unit.read_depends(before, "head")

    def write_token(self):
        """Write the cluster's token: on the head a new one if there is none, on other hosts the given one."""
        new = self.params["new_token"]
        if not self.token or not (self.params["head"] or self.params["token"] or new):
            return
        rotate = self.params["rotate_token"]
        wanted = self.params["token"] or (new if rotate or not self.token.text else "")
        if not self.params["restart"] and self.token.is_replaced(wanted, rotate):
            self.systemd.protect_running("its token changes")
        done = self.token.ensure(wanted, rotate)
        if done:
            self.systemd.note(done)

    def write_firewall(self):
        """Write the script that closes Ray's ports to hosts outside the cluster, and apply it as far as needed."""
        if not self.params["firewall"] or not (self.params["head"] or self.params["start"]):
            return
        present = files.read(self.firewall)
        known = ray_firewall.read_allowed(present) if self.params["keep_allowed"] else []
        given = find_addresses(self.params["allow"]) if self.params["add_allowed"] or not known else []
        allowed = [self.address, *known, *given]
        ports = ray_unit.list_ports(self.version, self.params["head"], self.params)
        text = ray_firewall.script_text(self.params["unit"], allowed, ports)
        changed = present != text or files.mode_of(self.firewall) != 0o755
        running = self.systemd.show().get("ActiveState") in RUNNING
        if changed:
            files.ensure_folder(os.path.dirname(self.firewall), 0o755, dry=self.dry)
            self.systemd.write(self.firewall, text, 0o755)
        if self.dry or (not changed and (not running or not call_firewall(self.firewall, "check")[0])):
            return
        code, output = call_firewall(self.firewall, "start")
        if code:
            self.warnings.append(f"Ray's ports are open to the network: {output.strip()}")
        elif not changed:
            self.systemd.note("limit Ray's ports to the cluster")

    def write_helpers(self, address_script):
        """Write ray-nodes, exclude /tmp/ray from the cleanup of /tmp, and set the address for old Ray."""
        head = f"{self.head_address}:{self.port}"
        files.ensure_folder(os.path.dirname(self.command), 0o755, dry=self.dry)
        self.systemd.write(self.script, self.params["script"], 0o644)
        wrapper = ray_unit.wrapper_text(self.runtime, self.script, head, *self.query_options())
        self.systemd.write(self.command, wrapper, 0o755)
        self.systemd.write(TMPFILES, "x {}\n".format(self.params["temp_dir"] or ray_unit.TEMP_DIR), 0o644)
        sites = os.path.join(glob.escape(self.runtime), "lib/python3.*/site-packages")
        for site in glob.glob(sites) if address_script else ():
            line = f"import {NODE_ADDRESS}; {NODE_ADDRESS}.towards('{head}')\n"
            self.systemd.write(os.path.join(site, NODE_ADDRESS + ".py"), address_script, 0o644)
            self.systemd.write(os.path.join(site, NODE_ADDRESS + ".pth"), line, 0o644)

    def query_options(self):
        """Return the options of ray-nodes, and variables for its import of a Ray without the HTTP API of Ray 2."""
        token = ["--token", self.token.path] if self.token else []
        if not self.has_api or "agent_http" not in self.params["ports"]:
            return [*(["--head"] if self.params["head"] and token else []), *token], self.token_variables()
        if self.params["head"]:
            ports = ["--ports", ",".join(map(str, self.list_reached_ports()))]
            return ["--head", "--dashboard", self.dashboard_url, *ports, *token], {}
        agent = "http://127.0.0.1:{}".format(self.params["ports"]["agent_http"])
        return ["--dashboard", agent, "--node", self.address, "--ray-version", self.version, *token], {}

    def describe(self):
        """Describe this node for the module's result."""
        return {
            "address": self.address,
            "head_address": self.head_address,
            "port": self.port,
            "dashboard_url": self.dashboard_url if self.params["head"] and self.has_api else "",
            "command": self.command,
            "started": self.started,
            "restarted": self.restarted,
            "settled": self.settled,
            "rejoins": self.rejoins,
            "token": self.token.fingerprint if self.token else "",
            "needs_token": self.token is not None,
            "versions": self.versions(),
            "ports": self.list_reached_ports() if self.params["head"] and self.rejoins else [],
        }

    def token_variables(self):
        """Return the variables with which Ray requires the token."""
        return {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": self.token.path} if self.token else {}

    def unit_text(self, depends):
        """Write the text of the wanted unit."""
        head = self.params["head"]
        # Without the package Ray refuses the option.
        client_port = self.params["client_port"] if CLIENT_PACKAGE in self.packages else 0
        settings = {**self.params, "client_port": client_port, "resources": self.find_resources()}
        options = ray_unit.start_options(self.version, head, self.address, self.head_address, settings)
        wait = [self.command, "--wait", "--timeout", str(ray_unit.HEAD_TIMEOUT)]
        return ray_unit.unit_text(
            description="Ray (%s)" % ("head" if head else "worker"),
            user=self.account.pw_name,
            home=self.account.pw_dir,
            runtime=self.runtime,
            command=[os.path.join(self.runtime, "bin/ray"), "start", *options],
            start_pre=[
                *self.firewall_command("start"),
                *ray_unit.clean_up(self.version, settings),
                *([wait] if self.token or not head else []),
            ],
            stop_post=self.firewall_command("stop"),
            depends=depends,
            variables=self.token_variables(),
            restart=self.rejoins,
        )

    def find_resources(self):
        """Return the resources of this host; its GPUs are those that nvidia-smi lists unless they are set."""
        given = self.params["resources"]
        if "GPU" in given:
            return given
        return ray_unit.add_gpus(given, nvidia_smi.count_usable(), files.read(self.systemd.path))

    def firewall_command(self, command):
        """Return the command of the unit for the firewall, which runs as root and may fail; none if it is off."""
        return [[f"-+{self.firewall}", command]] if self.params["firewall"] else []

    def bring_up(self, before, text):
        """Write and enable the unit, start or restart it; does not wait."""
        state = self.systemd.show()
        # A worker that waits for the head with an outdated ray-nodes must be restarted, too.
        waiting = state.get("ActiveState") == "activating"
        running = state.get("ActiveState") == "active" or (waiting and not self.systemd.actions)
        needs = [self.script, self.command] if waiting else ()
        lost_session = self.lost_session(state)
        if not self.params["restart"]:
            self.systemd.protect(text, needs, find_reason)
            if lost_session:
                self.systemd.protect_running(LOST_SESSION)
        outdated = self.systemd.put(text, enabled=True, needs=needs)
        # One that waits joins the head that was restarted.
        lost_head = self.rejoins and self.params["head_restarted"] and not (self.params["head"] or waiting)
        if running and (outdated or lost_head or lost_session):
            others = LOST_SESSION if lost_session else "its head was restarted"
            reason = find_reason(before, text) if outdated else others
            self.systemd.note(f"restart Ray: {reason}")
        elif not running:
            failed = before and state.get("Result", "") not in ("", "success")
            self.systemd.note("start Ray" + (f" (it had ended: {state['Result']})" if failed else ""))
        if self.dry or (running and not (outdated or lost_head or lost_session)):
            return
        self.started, self.restarted = True, bool(running)
        if self.params["head"] and not running:
            found = ports.find_foreign(self.port, self.params["unit"])
            if found:
                raise UnitError(f"{found} or set ray_node_port to a free port")
        # A worker's start lasts until it has joined. Before workers join again, the head's former Ray must have ended.
        blocks = self.params["head"] and (running or not self.rejoins)
        self.systemd.restart(*([] if blocks else ["--no-block"]))

    def lost_session(self, state):
        """Return whether the folder of the Ray that runs is gone, so that no worker can start."""
        if state.get("ActiveState") != "active" or not os.path.exists(self.command):
            return False
        code, _output = accounts.run(accounts.find("root"), ["/bin/sh", self.command, "--check-session"], timeout=30)
        return code == 1

    def list_reached_ports(self):
        """Return the ports of every node that the head connects to."""
        ports = self.params["ports"]
        return [int(ports[name]) for name in ("node_manager", "object_manager") if name in ports]


def call_firewall(script, command):
    """Run the script of the firewall as root; return (exit code, output)."""
    root = accounts.find("root")
    return accounts.run(root, ["/bin/sh", script, command], timeout=30, shown="ray-firewall")


def find_reason(before, text):
    """Return why Ray is restarted: what differs between the previous and the wanted unit."""
    for name, words in (
        ("runtime", "its runtime changed"),
        ("head", "its head was restarted"),
        ("token", "its token changed"),
        ("address", "the detection of its address changed"),
    ):
        if ray_unit.read_depends(before, name) != ray_unit.read_depends(text, name):
            return words
    return "its unit changed" if before != text else "its files changed after it was started"


def find_addresses(names):
    """Resolve names; addresses and networks are returned unchanged, and names that cannot be resolved are left out."""
    found = []
    for name in filter(None, names):
        with contextlib.suppress(OSError):
            found.append(name if cluster_ssh.is_address(name.partition("/")[0]) else socket.gethostbyname(name))
    return found


def resolve(name):
    """Resolve a name; an address is returned unchanged."""
    if cluster_ssh.is_address(name):
        return name
    try:
        return socket.gethostbyname(name)
    except OSError:
        raise UnitError(f"this host cannot resolve the head's name {name}: set ray_node_head_address") from None
