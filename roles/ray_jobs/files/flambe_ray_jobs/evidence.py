"""What this host can prove about a job's process: whether it lives, and why it ended."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess

from flambe_ray_jobs.settings import read_boot

OUT_OF_MEMORY = "killed by the kernel: the host is out of memory"
_SECONDS = 20  # for an answer


def describe_process(settings):
    """Describe this process, so that another one can find out later whether it lives."""
    return {
        "pid": os.getpid(),
        "ticks": read_ticks(os.getpid()),
        "boot": read_boot(),
        "ray": read_unit(settings.ray_unit).get("InvocationID", ""),
        "oom_kills": count_oom_kills(),
    }


def lives(process):
    """Return whether a described process still runs."""
    return process["boot"] == read_boot() and read_ticks(process["pid"]) == process["ticks"]


def read_ticks(pid):
    """Return when a process was started, in the kernel's ticks since boot; "" if there is none, or it is a zombie."""
    with contextlib.suppress(OSError), open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
        fields = file.read().rpartition(")")[2].split()
        return "" if fields[0] in "ZX" else fields[19]
    return ""


def read_unit(unit):
    """Read properties of a unit."""
    lines = _ask("systemctl", "show", "--property", "ActiveState,InvocationID", unit).splitlines()
    return dict(line.split("=", 1) for line in lines if "=" in line)


def count_oom_kills():
    """Return how many processes of this control group the kernel killed for lack of memory; None if unknown."""
    with contextlib.suppress(OSError, ValueError, StopIteration):
        with open("/proc/self/cgroup", encoding="utf-8") as file:
            groups = {one[1]: one[2] for one in (line.rstrip("\n").split(":", 2) for line in file)}
        if "memory" in groups:  # control groups of version 1
            path = os.path.join("/sys/fs/cgroup/memory", groups["memory"].lstrip("/"), "memory.oom_control")
        else:
            path = os.path.join("/sys/fs/cgroup", groups.get("", "").lstrip("/"), "memory.events")
        with open(path, encoding="utf-8") as file:
            return next(int(line.split()[1]) for line in file if line.startswith("oom_kill "))
    return None


def has_new_oom_kills(before):
    """Return whether the kernel has killed a process of this control group since a count."""
    after = count_oom_kills()
    return None not in (before, after) and after > before


def find_oom_kill(pid, since):
    """Return whether the kernel's log says that it killed a process for lack of memory."""
    log = _ask("sudo", "-n", "journalctl", "--dmesg", "--no-pager", "--output=cat", f"--since=@{since:.0f}")
    return f"Killed process {pid} " in log


def explain_signal(number, pid, since, oom_kills):
    """Return why a process ended by a signal; ``oom_kills``: the count when it was started."""
    name = signal.Signals(number).name if number in {one.value for one in signal.Signals} else ""
    if number == signal.SIGKILL and (has_new_oom_kills(oom_kills) or find_oom_kill(pid, since)):
        return OUT_OF_MEMORY
    return f"killed by signal {number}" + (f" ({name})" if name else "")


def explain_termination(settings):
    """Return why this process is asked to end now, "" if neither the host nor Ray on it stops."""
    question = ("systemctl", "is-system-running")
    # During a shutdown, systemd may answer root alone.
    if "stopping" in (_ask(*question).strip(), _ask("sudo", "-n", *question).strip()):
        return "the host was shut down or rebooted while it ran"
    if read_unit(settings.ray_unit).get("ActiveState") not in ("active", "reloading"):
        return f"Ray was stopped or restarted while it ran ({settings.ray_unit})"
    return ""


def explain_loss(settings, began):
    """Return why a job ended that recorded no end."""
    if began["boot"] != read_boot():
        return "the host was rebooted while it ran"
    unit = read_unit(settings.ray_unit)
    if began["ray"] and (began["ray"] != unit.get("InvocationID") or unit.get("ActiveState") != "active"):
        return f"Ray was stopped or restarted while it ran ({settings.ray_unit})"
    if find_oom_kill(began["pid"], began["clock"]):
        return OUT_OF_MEMORY
    return "its process was killed"


def _ask(*argv):
    """Run a command that only reads; return its output, "" also if it does not exist or takes too long."""
    with contextlib.suppress(OSError, subprocess.TimeoutExpired):
        done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, check=False, timeout=_SECONDS)
        return done.stdout.decode("utf-8", "replace")
    return ""
