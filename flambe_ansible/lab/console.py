"""Console output of hosts: it has the SSH host keys some time after the first boot, and not after later ones.

https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_GetConsoleOutput.html
"""

from __future__ import annotations

import time
from typing import Any

from flambe_ansible.lab import disk
from flambe_ansible.lab.answers import RefusedError
from flambe_ansible.lab.cloud import Cloud
from flambe_ansible.lab.state import Settings

LIMIT = 65_536  # EC2 keeps the last 64 KB
_SHOWN_STATES = ("running", "stopping", "stopped")


class Consoles:
    """The console output of a lab's instances."""

    def __init__(self, cloud: Cloud, settings: Settings) -> None:
        self._cloud = cloud
        self._settings = settings
        self._posted: dict[str, tuple[float, str]] = {}  # by id: the boot, and its output

    def read(self, instance: Any, *, latest: bool) -> str:
        """Return the current output, or without ``latest`` the one that was posted once after the last boot."""
        if latest:
            self._require_nitro(instance.instance_type)
        if instance.state not in _SHOWN_STATES:
            return ""
        booted = disk.up_mark(self._settings, instance.id).stat().st_mtime
        complete = time.time() - booted >= self._settings.console_delay
        if latest:
            return render(self._settings, instance.id, with_keys=complete)
        if complete and self._posted.get(instance.id, (0.0, ""))[0] != booted:
            self._posted[instance.id] = booted, render(self._settings, instance.id)
        return self._posted.get(instance.id, (0.0, ""))[1]

    def _require_nitro(self, instance_type: str) -> None:
        """Refuse the current output of types that are not on Nitro."""
        known = self._cloud.ec2.describe_instance_types(filters={"instance-type": [instance_type]})
        if not known or known[0].get("Hypervisor") != "nitro":
            reason = "This instance type does not support retrieving latest console logs."
            raise RefusedError("UnsupportedOperation", reason)


def render(settings: Settings, host: str, *, with_keys: bool = True) -> str:
    """Return the end of a host's console output: boot messages, and SSH host keys as cloud-init prints them.

    cloud-init prints the keys at the first boot only, and a host that was stopped has a new console.
    https://cloudinit.readthedocs.io/en/latest/reference/modules.html (Keys to Console)
    """
    shown = [disk.console_tail(settings, host, lines=400)]
    if with_keys and not disk.restart_mark(settings, host).exists():
        shown += ["-----BEGIN SSH HOST KEY KEYS-----", *disk.host_keys(settings, host)]
        shown += ["-----END SSH HOST KEY KEYS-----"]
    return "\n".join([*shown, ""])[-LIMIT:]
