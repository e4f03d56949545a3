"""Locks: requirements resolved once to exact versions, for each kind of host of a cluster."""

from __future__ import annotations

import contextlib
import os
import platform
import re
import shutil
import subprocess

from ansible_collections.flambe.cluster.plugins.module_utils import files

FILE = "lock.json"
NO_DRIVER = "cpu"
AUTO = "auto"
_MODULE = "/proc/driver/nvidia/version"
_SMI = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
_SMI_PATH = "/usr/local/nvidia/bin:/usr/bin:/bin:/usr/local/bin"
_SMI_SECONDS = 30


def host_kind(module=_MODULE, smi_path=_SMI_PATH):
    """Return the kind of this host: its machine, and the version of NVIDIA's driver, such as ``x86_64-cpu``.

    Hosts of one kind get the same packages.
    """
    driver = read_driver(module, smi_path)
    return "{}-{}".format(platform.machine(), f"cuda-{driver}" if driver else NO_DRIVER)


def read_driver(module=_MODULE, smi_path=_SMI_PATH):
    """Return the version of NVIDIA's driver, "" if there is none.

    A container or a sandbox with a GPU may not show the kernel module; nvidia-smi is used there, as by uv.
    """
    match = re.search(r"Module\s.*?(\d+(?:\.\d+)+)", files.read(module) or "")
    return match.group(1) if match else _read_smi(smi_path)


def _read_smi(path):
    """Return the version that nvidia-smi prints for the first GPU; "" if it fails or is not installed."""
    program = shutil.which(_SMI[0], path=path)
    if not program:
        return ""
    with contextlib.suppress(OSError, subprocess.TimeoutExpired):
        pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
        done = subprocess.run([program, *_SMI[1:]], timeout=_SMI_SECONDS, check=False, **pipes)
        match = re.match(rb"\s*(\d+(?:\.\d+)+)\s*$", done.stdout.split(b"\n")[0])
        return match.group(1).decode() if match and done.returncode == 0 else ""
    return ""


def torch_backend(kind, wanted):
    """Return the value of uv's ``--torch-backend`` for a kind of host; "" for none."""
    if wanted == "none":
        return ""
    return NO_DRIVER if wanted == AUTO and kind.endswith(f"-{NO_DRIVER}") else wanted


def torch_options(kind, wanted):
    """Return the options of uv that choose the build of PyTorch for a kind of host."""
    backend = torch_backend(kind, wanted)
    return [f"--torch-backend={backend}"] if backend else []


def torch_variables(kind):
    """Return the variables for uv's choice of the CUDA build: it need not find the driver itself."""
    driver = kind.partition("-cuda-")[2]
    return {"UV_CUDA_DRIVER_VERSION": driver} if driver else {}


def public_version(line):
    """Return an exact requirement without the local part of its version: the same release in another build."""
    return re.sub(r"(==[^\s;+]+)\+[^\s;]+", r"\1", line)


class Lock:
    """The lock below a root, as a module's parameters describe it; ``kinds`` are the kinds of the cluster's hosts.

    ``todo``: the kinds to resolve. ``found``: the exact requirements by kind.
    """

    def __init__(self, params):
        self.params = params
        self.path = os.path.join(params["root"].rstrip("/"), FILE)
        names = ("requirements", "constraints", "python_version", "torch_backend")
        self.inputs = files.digest({name: params[name] for name in names})
        recorded = files.read_json(self.path)
        current = recorded.get("inputs") == self.inputs
        self.found = dict(recorded.get("locks") or {}) if current else {}
        self.todo = [kind for kind in sorted(set(params["kinds"])) if kind not in self.found]

    def resolve(self, uv):
        """Resolve the missing kinds, and record them; kinds that follow get the releases of the first."""
        for kind in self.todo:
            self.found[kind] = self._compile(uv, kind)
        document = {"inputs": self.inputs, "python_version": self.params["python_version"], "locks": self.found}
        files.write(self.path, files.as_json(document), 0o644)

    def _compile(self, uv, kind):
        first = next(iter(self.found.values()), [])
        constraints = [*self.params["constraints"], *(public_version(line) for line in first if "==" in line)]
        machine = kind.partition("-")[0]
        options = [
            "--python-version",
            self.params["python_version"],
            *torch_options(kind, self.params["torch_backend"]),
        ]
        if machine != platform.machine():
            options += ["--python-platform", f"{machine}-manylinux_2_28"]
        return uv.compile(self.params["requirements"], constraints, options, torch_variables(kind))
