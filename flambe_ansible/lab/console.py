"""The console output of an instance: boot messages, and SSH host keys as cloud-init prints them."""

from __future__ import annotations

from collections.abc import Sequence

from flambe_ansible.lab import disk
from flambe_ansible.lab.state import Settings

LIMIT = 65_536  # EC2 keeps the last 64 KB


def render(settings: Settings, instance: str, keys: Sequence[str]) -> str:
    """Return the console output: the boot messages, followed by the keys."""
    boot = disk.console_tail(settings, instance, lines=400)
    return (boot + "\n" + host_key_block(keys))[-LIMIT:]


def host_key_block(keys: Sequence[str]) -> str:
    """Return SSH host keys between the lines that cloud-init prints around them.

    https://cloudinit.readthedocs.io/en/latest/reference/modules.html (Keys to Console)
    """
    block = ["-----BEGIN SSH HOST KEY KEYS-----", *keys, "-----END SSH HOST KEY KEYS-----"]
    return "\n".join(block) + "\n"
