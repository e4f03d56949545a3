"""How much of its CPUs and GPUs this host uses."""

from __future__ import annotations

import os
import time

from flambe_idle_shutdown.processes import PROC
from flambe_idle_shutdown.settings import SignalError, run

CONTAINER = "/run/systemd/container"  # exists in containers, in which /proc/stat is that of the whole machine
PCI = "/sys/bus/pci/devices"
_TICKS = os.sysconf("SC_CLK_TCK")  # a second
_LATE_INTERVALS = 5
_LATE_SECONDS = 180
_NVIDIA, _DISPLAY = "0x10de", "0x03"
_MEMORY, _TOTAL, _BUSY = range(3)  # the columns of the answer
_QUERY = "memory.used,memory.total,utilization.gpu"


def measure(processes):
    """Return a sample: the time, and how many seconds of CPU were used until then."""
    if os.path.exists(CONTAINER):
        used = sum(one.cpu for one in processes)
    else:
        with open(os.path.join(PROC, "stat"), encoding="ascii") as file:
            user, nice, system, _idle, _iowait, irq, softirq = map(int, file.readline().split()[1:8])
        used = (user + nice + system + irq + softirq) / _TICKS
    return {"clock": time.clock_gettime(time.CLOCK_BOOTTIME), "used": used, "own": 0.0}


def read_cpu(before, now, *, interval):
    """Return the use of CPU between two samples, in percent of one CPU, without that of these checks.

    Raises:
        SignalError: There is no earlier sample of this boot, or it is too old.
    """
    if not before:
        raise SignalError("the CPU use is not known before the second check")
    seconds = now["clock"] - before["clock"]
    if seconds > max(_LATE_INTERVALS * interval, _LATE_SECONDS):
        raise SignalError(f"the last check was {seconds:.0f} s ago")
    if seconds <= 0:
        raise SignalError("the clock of this host was set back")
    return max(now["used"] - before["used"] - before["own"], 0.0) / seconds * 100


def find_cpu(settings, before, now):
    """Return why the host is busy by its CPU use: a list of one text, or nothing."""
    percent = read_cpu(before, now, interval=settings.interval)
    if percent < settings.cpu_percent:
        return []
    return [f"CPU use is {percent:.0f} % of one CPU"]


def find_gpus(settings):
    """Return why the host is busy by its NVIDIA GPUs, a text for each one.

    Raises:
        SignalError: There is a GPU, and the driver gives no or a malformed answer.
    """
    if not has_gpu():
        return []
    code, output, errors = run([settings.nvidia_smi, f"--query-gpu={_QUERY}", "--format=csv,noheader,nounits"])
    lines = [line.split(", ") for line in output.splitlines() if line.strip()]
    if code or not lines:
        raise SignalError(f"nvidia-smi: {(errors or output).strip() or f'exit code {code}'}")
    return [text for index, line in enumerate(lines) for text in _judge(settings, index, line)]


def has_gpu():
    """Return whether this host has an NVIDIA GPU with a driver; without one it cannot be in use."""
    if not (os.path.isdir(os.path.join(PROC, "driver/nvidia")) or _find_program("nvidia-smi")):
        return False
    if not os.path.isdir(PCI):
        return True
    for name in os.listdir(PCI):
        vendor, kind = (_read(os.path.join(PCI, name, file)) for file in ("vendor", "class"))
        if vendor == _NVIDIA and kind.startswith(_DISPLAY):
            return True
    return False


def _judge(settings, index, columns):
    """Return why one GPU is busy."""
    if len(columns) == _BUSY + 1 and columns[_BUSY] == "[N/A]":  # it is divided (MIG): only its processes are known
        code, output, errors = run([settings.nvidia_smi, "--query-compute-apps=pid", "--format=csv,noheader"])
        if code:
            raise SignalError(f"nvidia-smi: {errors.strip() or f'exit code {code}'}")
        return [f"a process uses GPU {index}"] if output.strip() else []
    try:
        used, total, busy = map(float, columns)
        memory = used / total * 100
    except (ValueError, ZeroDivisionError):
        raise SignalError(f"nvidia-smi: malformed answer for GPU {index}: {', '.join(columns)}") from None
    if busy >= settings.gpu_percent:
        return [f"GPU {index} is {busy:.0f} % in use"]
    return [f"{memory:.0f} % of the memory of GPU {index} is in use"] if memory >= settings.gpu_percent else []


def _read(path):
    with open(path, encoding="ascii") as file:
        return file.read().strip()


def _find_program(name):
    folders = ("/usr/local/bin", "/usr/bin", "/bin", "/usr/local/nvidia/bin", "/opt/bin")
    return next((path for path in (os.path.join(folder, name) for folder in folders) if os.path.exists(path)), "")
