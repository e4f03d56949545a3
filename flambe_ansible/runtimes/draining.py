"""Drain one node of a Ray cluster; this file is sent to the head, and runs on its Python (3.8 and later) alone.

It asks Ray's dashboard for the node of an address, requests the drain with ``ray drain-node``, and waits until the node
has ended, which it does when nothing runs there any more. It prints one JSON document: ``found``, ``drained``,
``running`` (what still runs there, in words) and ``error``.
https://github.com/ray-project/ray/blob/master/python/ray/scripts/scripts.py (drain_node)
"""

from __future__ import annotations

import json
import os
import subprocess
import time
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

_PAUSE = 0.5
_TIMEOUT = 20.0
_COMMAND_TIMEOUT = 60.0


def main(address: str, environment: str, port: int, dashboard: str, token: str, seconds: float) -> None:
    """Drain the node at an address within some seconds, and print the result."""
    try:
        result = drain(address, environment, port, Dashboard(dashboard, token), seconds)
    except (OSError, ValueError, KeyError, TypeError, subprocess.SubprocessError) as error:
        result = {"found": True, "drained": False, "running": [], "error": str(error) or type(error).__name__}
    print(json.dumps(result))


class Dashboard:
    """The API of Ray's dashboard at a URL; the path of its token is relative to the home folder, or ""."""

    def __init__(self, url: str, token: str) -> None:
        self.url = url
        path = Path.home() / token
        self.token = path if token and path.exists() else None

    def read(self, path: str) -> list[dict[str, Any]]:
        """Read a list, without a proxy."""
        headers = {"Authorization": f"Bearer {self.token.read_text().strip()}"} if self.token else {}
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        request = urllib.request.Request(self.url + path, headers=headers)  # noqa: S310 - always http
        with opener.open(request, timeout=_TIMEOUT) as answer:
            rows: list[dict[str, Any]] = json.loads(answer.read().decode())["data"]["result"]["result"]
        return rows

    def list_alive(self) -> list[dict[str, Any]]:
        """List the nodes that are alive."""
        return [node for node in self.read("/api/v0/nodes?limit=10000") if node["state"] == "ALIVE"]


def drain(address: str, environment: str, port: int, dashboard: Dashboard, seconds: float) -> dict[str, Any]:
    """Request the drain and wait for it."""
    alive = dashboard.list_alive()
    nodes = [node["node_id"] for node in alive if node["node_ip"] == address]
    if not nodes:
        return {"found": False, "drained": True, "running": [], "error": ""}
    head = next((node["node_ip"] for node in alive if node.get("is_head_node")), "127.0.0.1")
    node, deadline = nodes[0], time.monotonic() + seconds
    request(node, environment, f"{head}:{port}", dashboard.token, seconds)
    while node in [one["node_id"] for one in dashboard.list_alive()]:
        if time.monotonic() >= deadline:
            return {"found": True, "drained": False, "running": list_work(dashboard, node), "error": ""}
        time.sleep(_PAUSE)
    return {"found": True, "drained": True, "running": [], "error": ""}


def request(node: str, environment: str, address: str, token: Path | None, seconds: float) -> None:
    """Run ``ray drain-node``: from then on the node gets no new tasks, and ends when nothing runs there any more."""
    variables = dict(os.environ, PYTHONWARNINGS="ignore", RAY_USAGE_STATS_ENABLED="0")
    for name in ("PYTHONPATH", "PYTHONHOME"):
        variables.pop(name, None)
    if token:
        variables.update(RAY_AUTH_MODE="token", RAY_AUTH_TOKEN_PATH=str(token))
    command = [f"{environment}/bin/ray", "drain-node", "--address", address, "--node-id", node]
    command += ["--reason", "DRAIN_NODE_REASON_PREEMPTION", "--reason-message", "the host is removed"]
    command += ["--deadline-remaining-seconds", str(int(seconds))]
    done = subprocess.run(
        command,
        env=variables,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=_COMMAND_TIMEOUT,
        check=False,
    )
    if done.returncode:
        lines = done.stdout.decode("utf-8", "replace").strip().splitlines()
        raise ValueError(f"ray drain-node: {lines[-1] if lines else done.returncode}")


def list_work(dashboard: Dashboard, node: str) -> list[str]:
    """Describe the tasks and actors on a node."""
    found = []
    for kind, state in (("tasks", "RUNNING"), ("actors", "ALIVE")):
        query = [("limit", "100")]
        for key, value in (("node_id", node), ("state", state)):
            query += [("filter_keys", key), ("filter_predicates", "="), ("filter_values", value)]
        rows = dashboard.read(f"/api/v0/{kind}?{urllib.parse.urlencode(query)}")
        if rows:
            names = sorted({str(row.get("name") or row.get("class_name") or "unnamed") for row in rows})
            noun = kind if len(rows) > 1 else kind.rstrip("s")
            found.append(f"{len(rows)} {noun}: {', '.join(names[:3])}")
    return found
