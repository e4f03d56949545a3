"""NVIDIA's driver on a host: its installation from the distribution, and its persistence mode."""

from __future__ import annotations

import platform
import re
import time

from ansible_collections.flambe.cluster.plugins.module_utils import account as accounts
from ansible_collections.flambe.cluster.plugins.module_utils import apt_lock, nvidia_smi

# The driver without graphics. https://packages.ubuntu.com/nvidia-headless-580-server is the last branch for GPUs older
# than Turing; GPUs since Blackwell need the packages that end in -open. https://packages.debian.org/nvidia-kernel-dkms
# is in Debian's section non-free.
PACKAGES = {
    "ubuntu": ("linux-headers-{kernel}", "nvidia-headless-580-server", "nvidia-utils-580-server"),
    "debian": ("linux-headers-{kernel}", "nvidia-kernel-dkms", "nvidia-smi", "libcuda1"),
}
OS_RELEASE = "/etc/os-release"
_APT = ["env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-q"]
_REMEDIES = {
    nvidia_smi.NO_DRIVER: "set cluster_gpu_driver (nvidia_driver in a cluster.yaml) to install, or to ignore",
    nvidia_smi.NO_DEVICES: "read `dmesg | grep -i nvrm` on the host, and reboot it",
    nvidia_smi.ERROR: "read `dmesg | grep -i nvrm` on the host, and reboot it",
    nvidia_smi.TIMED_OUT: "read `dmesg | grep -i nvrm` on the host, and reboot it",
    nvidia_smi.MISMATCH: "",  # the error ends with it
}


class DriverError(Exception):
    """The GPUs of this host cannot be used, in one line."""


class Driver:
    """The driver of this host, as the module's parameters describe it."""

    def __init__(self, params, dry):
        self.params = params
        self.dry = dry
        self.actions = []
        self.warnings = []
        self._root = accounts.find("root")

    def converge(self):
        """Bring the driver to the wanted state; return the facts of ``nvidia_smi``."""
        facts = nvidia_smi.read()
        if facts["state"] == nvidia_smi.NO_DRIVER and self.params["driver"] == "install":
            self.install()
            if self.dry:
                return facts
            facts = nvidia_smi.read()
            if facts["state"] != nvidia_smi.OK:
                raise DriverError(f"the driver was installed, and does not work: {facts['error']}; reboot the host")
        if facts["state"] == nvidia_smi.NONE:
            return facts
        if facts["state"] != nvidia_smi.OK:
            raise DriverError("; ".join(filter(None, (facts["error"], _REMEDIES[facts["state"]]))))
        if self.params["persistence"]:
            self.keep_loaded()
        return facts

    def install(self):
        """Install the packages, and load the driver."""
        packages = [one.replace("{kernel}", platform.release()) for one in self.params["packages"] or list_packages()]
        self.actions.append("install {}".format(" ".join(packages)))
        if self.dry:
            return
        apt_lock.wait(time.monotonic() + apt_lock.WAIT_SECONDS)
        self.run([*_APT, "update"])
        code, output = self.run([*_APT, "install", "-y", "--no-install-recommends", *packages])
        if code:
            raise DriverError(describe_failure(output))
        self.run(["modprobe", "nvidia"])

    def keep_loaded(self):
        """Turn persistence mode on for all GPUs; a GPU that does not support it is a warning.

        https://docs.nvidia.com/deploy/driver-persistence/
        """
        program = nvidia_smi.find_program()
        if not self.list_unloaded(program):
            return
        self.actions.append("turn persistence mode on")
        if self.dry:
            return
        output = self.run([program, "-pm", "1"])[1]
        if self.list_unloaded(program):
            self.actions.pop()
            self.warnings.append(f"persistence mode could not be turned on: {accounts.tail(output, 1)}")

    def list_unloaded(self, program):
        """Return the GPUs whose persistence mode is off."""
        output = self.run([program, "--query-gpu=index,persistence_mode", "--format=csv,noheader"])[1]
        return re.findall(r"^(\d+), *Disabled", output, re.M)

    def run(self, argv):
        """Run a command as root; return (exit code, output)."""
        timeout = nvidia_smi.TIMEOUT if "nvidia-smi" in argv[0] else self.params["timeout"]
        return accounts.run(self._root, argv, timeout=timeout, setting="cluster_gpu_timeout")


def list_packages():
    """Return the packages of this host's distribution; raises DriverError if they are not known."""
    release = accounts.read_environment(OS_RELEASE)
    names = [release.get("ID", ""), *release.get("ID_LIKE", "").split()]
    found = next((PACKAGES[name] for name in names if name in PACKAGES), None)
    if found is None:
        raise DriverError(f"no packages are known for {release.get('PRETTY_NAME', names[0])}: set cluster_gpu_packages")
    return found


def describe_failure(output):
    """Describe why apt failed, in one line."""
    missing = re.findall(r"Unable to locate package (\S+)|Package '?([\w.+-]+)'? has no installation candidate", output)
    if not missing:
        errors = re.findall(r"^E: (.*)", output, re.M)
        return "NVIDIA's driver could not be installed: {}".format(errors[0] if errors else accounts.tail(output, 1))
    names = ", ".join(one or other for one, other in missing)
    return (
        f"the host's package sources have no {names}: enable restricted (Ubuntu) or contrib, non-free and"
        " non-free-firmware (Debian), or set cluster_gpu_packages"
    )
