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
    """Write the options of ``ray start`` for this version of Ray.

    Args:
        version: Ray's version; below 1.0 the port option names Redis.
        head: Whether this host is the head.
        address: This host's private address.
        head_address: The head's private address.
        port: The head's port.

    Returns:
        A list of words.
    """
    old = is_old(version)
    if head:
        options = ["--head", "--num-cpus=0", f"--redis-port={port}" if old else f"--port={port}"]
        if not old:
            options.append("--dashboard-host=127.0.0.1")
    else:
        join = f"{head_address}:{port}"
        options = [f"--redis-address={join}" if old else f"--address={join}"]
    options.append(f"--node-ip-address={address}")
    return [*options, "--block"]


def unit_text(description, user, home, runtime, command, wait, depends):
    """Write the unit.

    Args:
        description: The unit's one-line description.
        user: The user who runs Ray.
        home: The user's home.
        runtime: The virtual environment.
        command: The words of ExecStart.
        wait: The words of ExecStartPre, or [].
        depends: name -> value; a changed value leads to a restart of Ray.

    Returns:
        Its text.
    """
    options = {
        # flambé stops Ray on purpose when an experiment ends.
        "Restart": "no",
        "KillMode": "control-group",
        "TimeoutStopSec": 15,
        "LimitNOFILE": 65536,
        **({"TimeoutStartSec": START_TIMEOUT} if wait else {}),
    }
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
        "options": options,
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
