"""systemd units of this host, read as the cluster's user and changed with sudo."""

from __future__ import annotations

import subprocess

ALIVE = ("active", "activating", "reloading")


def show(unit):
    """Read a unit's properties."""
    argv = ["systemctl", "show", "--property", "ActiveState,SubState,Result,InvocationID,Job", unit]
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    lines = done.stdout.decode("utf-8", "replace").splitlines()
    return dict(line.split("=", 1) for line in lines if "=" in line)


def has_ended(state):
    """Return whether a unit does not run, and systemd is neither stopping nor about to start it."""
    return state.get("ActiveState", "") not in (*ALIVE, "deactivating") and state.get("Job", "0") in ("", "0")


def call(*words):
    """Run systemctl as root; return its output if it failed, else ""."""
    argv = ["sudo", "-n", "systemctl", *words]
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    output = done.stdout.decode("utf-8", "replace").strip()
    return (output or f"exit code {done.returncode}") if done.returncode else ""
