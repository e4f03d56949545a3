"""The systemd unit and the commands of Ray on a host, as text: pure functions."""

from __future__ import annotations

import re
import shlex

from ansible_collections.flambe.cluster.plugins.module_utils import account as accounts
from ansible_collections.flambe.cluster.plugins.module_utils import service_text

START_TIMEOUT = 330  # seconds for the start of a worker in all
HEAD_TIMEOUT = 300  # seconds of that for waiting for the head


def is_old(version):
    """Return whether a version of Ray is below 1.0, with different options and internals."""
    return int(version.split(".")[0]) < 1


def start_options(version, head, address, head_address, port):
    """Write the options of ``ray start`` for this version of Ray; below 1.0 the address and port are those of Redis."""
    old = is_old(version)
    redis = "redis-" if old else ""
    options = [f"--{redis}address={head_address}:{port}"]
    if head:
        options = ["--head", "--num-cpus=0", f"--{redis}port={port}", *([] if old else ["--dashboard-host=127.0.0.1"])]
    return [*options, f"--node-ip-address={address}", "--block"]


def unit_text(description, user, home, runtime, command, wait, depends):
    """Write the unit that runs the words of ``command`` after those of ``wait``; ``depends``: see ``service_text``."""
    spec = {
        "description": description,
        "type": "simple",
        # Workers must find the runtime's python3 first. A PATH in /etc/environment would override Environment=.
        "command": ["/usr/bin/env", f"PATH={runtime}/bin:{accounts.SYSTEM_PATH}", *command],
        "start_pre": wait,
        "environment": {
            "PYTHONUNBUFFERED": "1",
            "PYTHONWARNINGS": "ignore",
            "LC_ALL": "C.UTF-8",
            "LANG": "C.UTF-8",
            "RAY_USAGE_STATS_ENABLED": "0",
        },
        "options": {
            "Restart": "no",  # flambé stops Ray on purpose when an experiment ends
            "KillMode": "control-group",
            "TimeoutStopSec": 15,
            "LimitNOFILE": 65536,
            **({"TimeoutStartSec": START_TIMEOUT} if wait else {}),
        },
    }
    return service_text.unit_text("flambe.cluster.ray_node", spec, user, home, depends)


def read_depends(text, name):
    """Read a value of ``depends`` from a unit's text; "" if it is not there."""
    match = re.search(rf"^# {re.escape(name)}: (.*)$", text or "", re.M)
    return match.group(1) if match else ""


def wrapper_text(runtime, script, address):
    """Write the command ray-nodes: it runs the script on the runtime's Python with the address of the head."""
    command = shlex.join([runtime + "/bin/python", script, "--address", address])
    clean = " ".join(f"-u {name}" for name in accounts.FOREIGN_PYTHON)
    return f'#!/bin/sh\n# Print the nodes of the Ray cluster as one JSON document.\nexec env {clean} {command} "$@"\n'


def missing_nodes(document, expected):
    """List the names of the expected hosts (name -> address) without a live Ray node."""
    alive = {node["address"] for node in document.get("nodes", []) if node["alive"]}
    return [name for name, address in expected.items() if address not in alive]
