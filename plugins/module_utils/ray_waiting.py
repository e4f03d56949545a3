"""The wait until nodes of Ray are alive, on the head or on the host of a node."""

from __future__ import annotations

import json
import socket
import time

from ansible_collections.flambe.cluster.plugins.module_utils import account as accounts
from ansible_collections.flambe.cluster.plugins.module_utils import progress
from ansible_collections.flambe.cluster.plugins.module_utils.systemd import Systemd, UnitError, has_ended

BLOCKED_SECONDS = 20  # until a port of a live node that the head cannot reach is an error
CONNECT_SECONDS = 5  # for a connection from the head to another host
MAX_RESTARTS = 3  # of the unit by systemd, until a start counts as failed
_WINDOW_SECONDS = 2  # for which ray-nodes waits by itself, until the state of the unit is read again
_QUERY_SECONDS = 15  # the limit of the first query of Ray; slow hosts get more


class Wait:
    """A wait for nodes, as the parameters of module ``ray_nodes`` describe it."""

    def __init__(self, params, account):
        self.params = params
        self.account = account
        self.systemd = Systemd(params["unit"])
        self.restarts = 0  # of the unit by systemd, before the wait
        self.blocked = False  # nodes are missing because the head cannot connect to their ports

    def settle(self):
        """Wait for the unit and the expected nodes; return the names of the missing nodes, and Ray's last error."""
        deadline = time.monotonic() + self.params["timeout"]
        self.restarts = 0 if self.params["started"] else count_restarts(self.systemd.show())
        if not self.await_unit(deadline):
            return list(self.params["expect"]), ""
        return self.await_nodes(deadline)

    def await_unit(self, deadline):
        """Wait until the unit runs; return whether it does at the deadline. Raises UnitError if it ended."""
        unit = self.params["unit"]
        while True:
            state = self.systemd.show()
            active = state.get("ActiveState")
            self.check_running(state)
            if active == "active":
                return True
            progress.report("waiting for the head" if state.get("SubState") == "start-pre" else f"starting {unit}")
            if time.monotonic() > deadline:
                return False
            time.sleep(0.2)

    def await_nodes(self, deadline):
        """Wait until the expected nodes are alive; see ``settle``."""
        limit = _QUERY_SECONDS
        while True:
            begun = time.monotonic()
            document = self.read_nodes(max(min(limit, deadline - begun), 5))
            missing = find_missing(document, self.params["expect"])
            error = document.get("error", "")
            if not missing:
                missing, error = self.find_blocked()
                self.blocked = bool(missing)
                # A port that stays closed on a node that is alive does not open by itself.
                deadline = min(deadline, begun + BLOCKED_SECONDS) if missing else deadline
            if not missing:
                return [], ""
            if time.monotonic() > deadline:
                return missing, error or self.find_blocked()[1]  # Ray may list a blocked node as dead meanwhile
            self.check_running(self.systemd.show())
            expected = accounts.count(len(self.params["expect"]), "node")
            progress.report("waiting for {} of {}: {}".format(len(missing), expected, ", ".join(missing)))
            # A slow host may need longer only to import Ray.
            limit *= 2 if time.monotonic() - begun >= limit else 1
            time.sleep(0.5)

    def find_blocked(self):
        """Connect from the head to Ray on the expected hosts; return the names of the others, and the first reason.

        Ray itself notices a closed port only after some time: it lists the node as alive, then as dead.
        """
        missing, reasons = [], []
        for host, address in self.params["expect"].items() if self.params["ports"] else ():
            for port in self.params["ports"]:
                try:
                    socket.create_connection((address, port), CONNECT_SECONDS).close()
                except OSError as error:
                    missing.append(host)
                    reasons.append(f"the head cannot connect to {address}:{port} ({host}): {error.strerror or error}")
                    break
        return missing, "; ".join(reasons)

    def check_running(self, state):
        """Raise UnitError if the unit ended; systemd restarts a Ray that rejoins, so that one gets some attempts."""
        restarts = count_restarts(state) - self.restarts
        if has_ended(state):
            raise UnitError("{} is {} ({})".format(self.params["unit"], state.get("ActiveState"), state.get("Result")))
        if restarts >= MAX_RESTARTS:
            raise UnitError("{} ended before its node was alive, {} times".format(self.params["unit"], restarts))

    def read_nodes(self, limit):
        """Run ray-nodes with a limit in seconds, until the expected nodes are alive; return its document."""
        wait = ["--expect", ",".join(self.params["expect"].values()), "--within", str(_WINDOW_SECONDS)]
        script, command = 'exec "$0" "$@" 2>/dev/null', self.params["command"]
        argv = ["/bin/sh", "-c", script, command, "--timeout", f"{limit:.0f}", *wait]
        try:
            code, output = accounts.run(self.account, argv, timeout=limit + 15, shown="ray-nodes")
        except accounts.CommandTimeoutError as error:
            return {"error": str(error)}
        try:
            return json.loads(output)
        except ValueError:
            return {"error": f"ray-nodes ended with {code}: {accounts.tail(output, 3)}"}


def find_missing(document, expected):
    """List the names of the expected hosts (name -> address) without a live Ray node."""
    alive = {node["address"] for node in document.get("nodes", []) if node["alive"]}
    return [name for name, address in expected.items() if address not in alive]


def count_restarts(state):
    """Return how often systemd has restarted the unit by itself."""
    return int(state.get("NRestarts") or 0)
