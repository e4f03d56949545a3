"""Restart Ray on all hosts of the cluster from the orchestrator, over SSH with the cluster's key."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor

import units

_READY_SECONDS = 120
_HOST_SECONDS = 150
_WINDOW_SECONDS = 5  # for which ray-nodes waits by itself
# The id of the head is recorded in the worker's unit, so that the role ray_node finds it up to date.
_WORKER = """set -e
unit=$1 head=$2
sed -i "s/^# head: .*/# head: $head/" "/etc/systemd/system/$unit"
systemctl daemon-reload
systemctl reset-failed "$unit" 2>/dev/null || true
systemctl restart "$unit"
"""


def restart(settings, hosts, notify):
    """Restart Ray, first the head on this host, then the workers, and wait until all nodes are alive.

    ``hosts``: ``{"user": ..., "head": {"name", "address"}, "workers": [{"name", "address"}, ...]}``; ``notify``
    receives messages, one line each. Returns name -> reason for the hosts that are not ready.
    """
    unit = settings.ray_unit
    units.call("reset-failed", unit)
    problem = units.call("restart", unit) or _await_head(unit)
    if problem:
        notify(f"the head of Ray could not be started: {problem}")
        return {hosts["head"]["name"]: problem}
    head = units.show(unit).get("InvocationID", "")
    workers = hosts["workers"]
    with ThreadPoolExecutor(max_workers=max(len(workers), 1)) as pool:
        answers = pool.map(lambda worker: _restart_worker(settings, hosts["user"], worker, head), workers)
        failed = {worker["name"]: reason for worker, reason in zip(workers, answers) if reason}
    for name, reason in failed.items():
        notify(f"{name}: Ray could not be started: {reason}")
    expected = [one for one in [hosts["head"], *workers] if one["name"] not in failed]
    missing = _await_nodes(settings, expected)
    for name in missing:
        notify(f"{name}: no live Ray node")
        failed[name] = "no live Ray node"
    return failed


def read_nodes(settings, timeout=30, expected=()):
    """Read the nodes of Ray; return (live addresses, why there is no answer).

    ray-nodes waits a moment until the expected addresses are alive.
    """
    wait = ["--expect", ",".join(expected), "--within", str(_WINDOW_SECONDS)] if expected else []
    argv = [settings.ray_nodes, "--timeout", str(timeout), *wait]
    # Not a pipe for stderr: processes that Ray leaves behind would keep it open.
    streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    try:
        done = subprocess.run(argv, timeout=timeout + 15, check=False, **streams)
        document = json.loads(_last_line(done.stdout))
    except subprocess.TimeoutExpired:
        return set(), f"{settings.ray_nodes}: still running after {timeout + 15} s"
    except (OSError, ValueError) as error:
        return set(), str(error) or type(error).__name__
    if "error" in document:
        return set(), str(document["error"])
    return {node["address"] for node in document["nodes"] if node["alive"]}, ""


def _await_head(unit):
    """Wait until the head's unit is active; return the problem, or ""."""
    end = time.monotonic() + 30
    while time.monotonic() < end:
        state = units.show(unit)
        if state.get("ActiveState") == "active":
            return ""
        if state.get("ActiveState") == "failed" and units.has_ended(state):
            break
        time.sleep(0.2)
    return "{} is {}".format(unit, state.get("ActiveState"))


def _restart_worker(settings, user, worker, head):
    """Restart Ray on one host; return the problem, or ""."""
    command = "sudo -n sh -s " + " ".join(shlex.quote(word) for word in (settings.ray_unit, head))
    argv = ["ssh", "-i", os.path.expanduser(settings.key), "-o", "BatchMode=yes", "-o", "IdentitiesOnly=yes"]
    argv += ["-o", "ConnectTimeout=10", "--", "{}@{}".format(user, worker["address"]), command]
    streams = {"input": _WORKER.encode(), "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    try:
        done = subprocess.run(argv, timeout=_HOST_SECONDS, check=False, **streams)
    except subprocess.TimeoutExpired as error:
        return f"restart over SSH: still running after {_HOST_SECONDS} s; last output: {_last_line(error.output)}"
    except OSError as error:
        return str(error)
    return "" if done.returncode == 0 else _last_line(done.stdout) or f"exit code {done.returncode}"


def _last_line(output):
    """Return the last line of an output in bytes (or None)."""
    return (output or b"").decode("utf-8", "replace").strip().rpartition("\n")[2]


def _await_nodes(settings, expected):
    """Wait until these hosts are alive in Ray; return the names of those that are not."""
    end = time.monotonic() + _READY_SECONDS
    while True:
        alive, _reason = read_nodes(settings, expected=[one["address"] for one in expected])
        missing = [one["name"] for one in expected if one["address"] not in alive]
        if not missing or time.monotonic() > end:
            return missing
        time.sleep(1)
