"""The NVIDIA GPUs of this host, as nvidia-smi lists them.

The file needs nothing but Python 3.8: flambe-ans sends its text to hosts, where it runs alone and prints the facts as
one line of JSON.
"""

from __future__ import annotations

import csv
import glob
import json
import os
import re
import signal
import subprocess
import sys

TIMEOUT = 30  # seconds for all commands; without persistence mode the driver initializes each GPU first, 1 to 3 s
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/usr/local/nvidia/bin:/opt/bin:/usr/lib/wsl/lib"
FIELDS = (
    "index", "name", "uuid", "driver_version", "compute_cap", "memory.total", "memory.used", "utilization.gpu",
    "utilization.memory", "pstate", "mig.mode.current",
)  # fmt: skip
ENVIRONMENT = "/etc/environment"  # of Ray's unit, too
PROC, SYS, DEV = "/proc", "/sys", "/dev"
CONTAINER = ("/run/systemd/container", "/run/host/container-manager", "/.dockerenv", "/run/.containerenv")

OK, NONE = "ok", "none"
NO_DRIVER, NO_DEVICES, MISMATCH, ERROR, TIMED_OUT = "no_driver", "no_devices", "mismatch", "error", "timeout"

_NVIDIA, _DISPLAY = "0x10de", "0x03"  # the vendor and the class of a PCI device
_BROKEN = re.compile(r"ERR!|Unknown Error|GPU is lost|requires? reset|fallen off the bus", re.I)
_ABSENT = re.compile(r"\[?(N/A|Not Supported|Not Available|Insufficient Permissions|No data)\]?$", re.I)
_UNKNOWN_FIELD = re.compile(r'Field "([^"]+)" is not a valid field')
_MIG = re.compile(r"\s+MIG (\S+)\s+Device\s+\d+:\s+\(UUID: ([^)]+)\)")
_GPU = re.compile(r"GPU (\d+):")


class TimedOutError(Exception):
    """A command did not end in time."""


def read(timeout=TIMEOUT):
    """Return the facts of this host.

    ``state`` is V(ok) or V(none), or the reason why the GPUs cannot be used: V(no_driver), V(no_devices), V(mismatch),
    V(error), V(timeout). ``error`` describes it in one line. ``gpus`` has what is known of each working GPU, ``memory``
    in MiB; ``visible`` is the number of GPUs that /etc/environment leaves visible to CUDA; ``cards`` the number of GPUs
    on the PCI bus, None in a container.
    """
    program, cards = find_program(), count_cards()
    if program:
        state, error, gpus = query(program, timeout)
        if not gpus and not cards and cards is not None and state in (NO_DRIVER, NO_DEVICES):
            state, error = NONE, ""  # an image with the driver on a host without a GPU
    elif glob.glob(os.path.join(DEV, "nvidia[0-9]*")):
        state, error, gpus = NO_DRIVER, "NVIDIA's driver is loaded, and nvidia-smi is not installed", []
    elif cards:
        noun = "GPU" if cards == 1 else "GPUs"
        state, error, gpus = NO_DRIVER, f"{cards} NVIDIA {noun}, and no driver is installed", []
    else:
        state, error, gpus = NONE, "", []
    return {"state": state, "error": error, "gpus": gpus, "visible": count_visible(len(gpus)), "cards": cards}


def count_usable():
    """Return the number of GPUs that Ray can use here; None if nvidia-smi does not answer, or reports an error."""
    facts = read()
    return facts["visible"] if facts["state"] in (OK, NONE) else None


def query(program, timeout=TIMEOUT):
    """Run nvidia-smi; return (state, error in one line, the working GPUs)."""
    fields = list(FIELDS)
    try:
        while True:
            words = [program, "--query-gpu=" + ",".join(fields), "--format=csv,noheader,nounits"]
            code, output = run(words, timeout)
            unknown = _UNKNOWN_FIELD.search(output)
            if not unknown or unknown.group(1) not in fields:
                break
            fields.remove(unknown.group(1))  # the driver is older than the field
        state, error, gpus = parse(fields, code, output)
        if any(gpu["mig"] for gpu in gpus):
            listed = parse_mig(run([program, "-L"], timeout)[1])
            for gpu in gpus:
                gpu["mig_devices"] = listed.get(gpu["index"], [])
    except TimedOutError:
        return TIMED_OUT, f"nvidia-smi did not answer within {timeout:g} s", []
    return state, error, gpus


def parse(fields, code, output):
    """Parse what nvidia-smi printed for these fields; return (state, error in one line, the working GPUs)."""
    gpus, errors = [], []
    for row in csv.reader(output.splitlines(), skipinitialspace=True):
        if len(row) != len(fields) or not row[0].strip().isdigit():
            errors.append(", ".join(row).strip())
            continue
        values = {name: row[number].strip() for number, name in enumerate(fields)}
        broken = [text for text in values.values() if _BROKEN.search(text)]
        if broken:
            errors.append("GPU {}: {}".format(values["index"], broken[0]))
            continue
        gpus.append(describe({name: "" if _ABSENT.match(text) else text for name, text in values.items()}))
    text = "\n".join(filter(None, errors))
    if "version mismatch" in text:
        return MISMATCH, describe_mismatch(text), []
    if "No devices were found" in text:
        return NO_DEVICES, "nvidia-smi: No devices were found", []
    if "communicate with the NVIDIA driver" in text or "Driver Not Loaded" in text:
        return NO_DRIVER, "NVIDIA's driver is installed, and it is not loaded", []
    if text or code or not gpus:
        return ERROR, "nvidia-smi: {}".format(text.splitlines()[0] if text else f"exit code {code}"), gpus
    return OK, "", gpus


def describe(values):
    """Return the facts of one GPU from the text of each field."""
    return {
        "index": int(values["index"]),
        "name": values.get("name", ""),
        "uuid": values.get("uuid", ""),
        "memory": int(values["memory.total"]) if values.get("memory.total", "").isdigit() else 0,
        "driver": values.get("driver_version", ""),
        "capability": values.get("compute_cap", ""),
        "mig": values.get("mig.mode.current") == "Enabled",
        "mig_devices": [],
    }


def describe_mismatch(text):
    """Return which version of the kernel module is loaded, and which version the libraries have."""
    library = re.search(r"NVML library version: (\S+)", text)
    loaded = read_module_version() or "unknown"
    installed = library.group(1) if library else "unknown"
    return (
        f"the loaded module of NVIDIA's driver has version {loaded}, its libraries have version {installed}:"
        " reboot the host"
    )


def parse_mig(output):
    """Return the MIG devices in the output of ``nvidia-smi -L``, by the index of their GPU."""
    found, index = {}, -1
    for line in output.splitlines():
        gpu, device = _GPU.match(line), _MIG.match(line)
        if gpu:
            index = int(gpu.group(1))
        elif device:
            found.setdefault(index, []).append({"profile": device.group(1), "uuid": device.group(2)})
    return found


def read_module_version():
    """Return the version of the loaded kernel module, "" if there is none."""
    for path in (os.path.join(SYS, "module/nvidia/version"), os.path.join(PROC, "driver/nvidia/version")):
        try:
            with open(path, encoding="utf-8") as file:
                text = file.read()
        except OSError:
            continue
        found = re.search(r"\b\d{3,}\.\d+(\.\d+)?\b", text)
        if found:
            return found.group(0)
    return ""


def count_cards():
    """Return the number of NVIDIA's GPUs on the PCI bus; None if this host does not show its own."""
    if any(os.path.exists(path) for path in CONTAINER) or not os.path.isdir(os.path.join(SYS, "bus/pci/devices")):
        return None
    number = 0
    for device in glob.glob(os.path.join(SYS, "bus/pci/devices/*")):
        try:
            with open(os.path.join(device, "vendor")) as vendor, open(os.path.join(device, "class")) as kind:
                number += vendor.read().strip() == _NVIDIA and kind.read().startswith(_DISPLAY)
        except OSError:
            continue
    return number


def count_visible(gpus):
    """Return how many of the GPUs, or of their MIG devices, CUDA_VISIBLE_DEVICES in /etc/environment leaves visible."""
    try:
        with open(ENVIRONMENT, encoding="utf-8", errors="replace") as file:
            lines = re.findall(r"^\s*(?:export\s+)?CUDA_VISIBLE_DEVICES=(.*)$", file.read(), re.M)
    except OSError:
        lines = []
    if not lines or not gpus:
        return gpus
    number = 0
    for one in lines[-1].strip().strip("'\"").split(","):
        if one.strip() in ("", "-1", "none", "NoDevFiles"):  # CUDA ignores what follows an invalid one
            break
        number += 1
    return number


def find_program():
    """Return the path of nvidia-smi, "" if there is none."""
    for folder in [*os.environ.get("PATH", "").split(":"), *PATH.split(":")]:
        path = os.path.join(folder, "nvidia-smi")
        if folder.startswith("/") and os.access(path, os.X_OK) and not os.path.isdir(path):
            return path
    return ""


def run(argv, timeout):
    """Run a command; return (exit code, stdout and stderr). A command that does not end is killed and left behind.

    It is not waited for: a process that waits for the driver may not end even when it is killed.
    """
    process = subprocess.Popen(
        argv,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        env={**os.environ, "LC_ALL": "C"},
    )
    try:
        output = process.communicate(timeout=timeout)[0]
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        raise TimedOutError(argv[0]) from None
    return process.returncode, output.decode(errors="replace")


if __name__ == "__main__":
    sys.stdout.write(json.dumps(read()) + "\n")
