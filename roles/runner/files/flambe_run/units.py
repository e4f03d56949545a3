"""systemd units of this host, read as the cluster's user and changed with sudo."""

from __future__ import annotations

import subprocess

_NAMES = "ActiveState,SubState,Result,InvocationID"
ALIVE = ("active", "activating", "reloading")


def show(unit):
    """Read a unit's properties."""
    done = subprocess.run(
        ["systemctl", "show", "--property", _NAMES, unit],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        check=False,
    )
    lines = done.stdout.decode("utf-8", "replace").splitlines()
    return dict(line.split("=", 1) for line in lines if "=" in line)


def call(*words):
    """Run systemctl as root; return its output if it failed, else ""."""
    done = subprocess.run(
        ["sudo", "-n", "systemctl", *words],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
    )
    if done.returncode == 0:
        return ""
    return done.stdout.decode("utf-8", "replace").strip() or f"exit code {done.returncode}"
