"""The systemd unit that runs Ray on a host, as text: pure functions."""

from __future__ import annotations

import re
import shlex

START_TIMEOUT = 330  # seconds that a factory's start may take in all
HEAD_TIMEOUT = 300  # seconds of it that it waits for the head


def is_old(version):
    """Tell Ray before 1.0, whose names and habits are others."""
    return int(version.split(".")[0]) < 1


def start_options(version, head, address, head_address, port):
    """Write the options of ``ray start`` as this version of Ray names them.

    Args:
        version: Ray's version; before 1.0 the port was Redis's by name.
        head: Whether this host is the head.
        address: This host's own private address.
        head_address: The head's.
        port: Where the head listens.

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
        description: Its one-line description.
        user: Who runs Ray.
        home: Their home.
        runtime: The virtual environment.
        command: The words of ExecStart.
        wait: The words of ExecStartPre, or [].
        depends: What makes Ray restart when it changes: name -> value; comments of the unit.

    Returns:
        Its text.
    """
    # Workers find the runtime's own python3 first. Set by env, for Ubuntu's /etc/environment has a PATH, and what
    # EnvironmentFile= says overrides Environment=.
    path = f"PATH={runtime}/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    command = ["/usr/bin/env", path, *command]
    lines = ["# Written by flambe.cluster.ray_node; edits are lost."]
    lines += ["# {}: {}".format(*item) for item in sorted(depends.items()) if item[1]]
    lines += [
        "[Unit]",
        f"Description={description}",
        "Wants=network-online.target",
        "After=network-online.target",
        "",
        "[Service]",
        f"User={user}",
        f"WorkingDirectory={escape(home)}",
        "Environment=PYTHONUNBUFFERED=1 PYTHONWARNINGS=ignore LC_ALL=C.UTF-8 LANG=C.UTF-8 RAY_USAGE_STATS_ENABLED=0",
        # Proxies and certificates, as a login has them.
        "EnvironmentFile=-/etc/environment",
    ]
    if wait:
        lines.append("ExecStartPre={}".format(" ".join(quote(word) for word in wait)))
        lines.append(f"TimeoutStartSec={START_TIMEOUT}")
    lines += [
        "ExecStart={}".format(" ".join(quote(word) for word in command)),
        # Ray is stopped on purpose when an experiment ends; health is what Ray answers.
        "Restart=no",
        "KillMode=control-group",
        "TimeoutStopSec=15",
        "LimitNOFILE=65536",
        "",
        "[Install]",
        "WantedBy=multi-user.target",
    ]
    return "\n".join(lines) + "\n"


def read_depends(text, name):
    """Read from a unit what Ray depended on when it was written; empty when that is unknown."""
    match = re.search(rf"^# {re.escape(name)}: (.*)$", text or "", re.M)
    return match.group(1) if match else ""


def escape(word):
    """Write a word so that systemd expands nothing in it."""
    return word.replace("%", "%%")


def quote(word):
    """Write a word of a command line for systemd."""
    word = escape(word).replace("$", "$$")
    if re.match(r"[A-Za-z0-9_@%+=:,./$-]+\Z", word):
        return word
    return '"{}"'.format(word.replace("\\", "\\\\").replace('"', '\\"'))


def wrapper_text(runtime, script, address):
    """Write the command ray-nodes: the script on the runtime's Python, with this cluster's head."""
    words = " ".join(shlex.quote(word) for word in (runtime + "/bin/python", script, "--address", address))
    return f'#!/bin/sh\n# Asks Ray which nodes are alive; prints one JSON document.\nexec {words} "$@"\n'


def missing_nodes(document, expected):
    """List the names of the expected hosts (name -> address) that Ray does not call alive."""
    alive = {node["address"] for node in document.get("nodes", []) if node["alive"]}
    return [name for name, address in expected.items() if address not in alive]
