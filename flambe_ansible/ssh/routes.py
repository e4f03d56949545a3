"""The way to a host: the user's own ProxyJump or ProxyCommand, or the cluster's bastion."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from flambe_ansible.ssh.options import escape_percent, quote, quote_value

_JUMP = re.compile(r"^(?:ssh://)?(?:(?P<user>[^@]+)@)?(?P<host>\[[^\]]+\]|[^:@\[\]]+)(?::(?P<port>\d+))?$")


def find_proxy(address: str, *, port: int, username: str) -> str | None:
    """Ask ``ssh -G`` which ProxyCommand the user's own configuration has for an address.

    A ProxyJump becomes an ``ssh -W`` that reads the user's configuration in full, so that the bastion's user, key
    and host key are what the user set for it.

    Args:
        address: Where this machine connects to.
        port: The port of sshd there.
        username: Who logs in.

    Returns:
        The ProxyCommand, its tokens (``%h``, ``%p``) still in it; None for a direct connection.
    """
    argv = ["ssh", "-G", "-p", str(port), "-l", username, "--", address]
    answer = subprocess.run(argv, capture_output=True, stdin=subprocess.DEVNULL, text=True, check=False, timeout=30)
    return parse_proxy(answer.stdout) if answer.returncode == 0 else None


def parse_proxy(settings: str) -> str | None:
    """Read the ProxyCommand from what ``ssh -G`` printed."""
    values = dict(line.split(" ", 1) for line in settings.splitlines() if " " in line)
    jump = values.get("proxyjump", "none")
    if jump.lower() != "none":
        return jump_command(jump)
    command = values.get("proxycommand", "none")
    return None if command.lower() == "none" else command


def jump_command(jump: str, *, key: Path | None = None, known_hosts: Path | None = None) -> str:
    """Make a ProxyCommand of a ProxyJump.

    Args:
        jump: ``[user@]host[:port]``, several separated by commas, as ``ssh -J`` takes them.
        key: A key that is offered to the bastion besides those of the user's configuration.
        known_hosts: A file that may know the bastion's key besides the user's own.

    Raises:
        ValueError: The jump cannot be read.
    """
    *first, last = [hop.strip() for hop in jump.split(",")]
    found = _JUMP.match(last)
    if not found or last.startswith("-"):
        raise ValueError(f"{jump!r} is not [user@]host[:port]")
    argv = ["ssh", "-o", "BatchMode=yes", "-o", "ForwardAgent=no", "-o", "ConnectTimeout=10"]
    if known_hosts:
        files = f"{quote_value(known_hosts)} ~/.ssh/known_hosts ~/.ssh/known_hosts2"
        argv += ["-o", f"UserKnownHostsFile={files}", "-o", "StrictHostKeyChecking=yes"]
    argv += ["-i", escape_percent(str(key))] if key else []
    argv += ["-J", ",".join(first)] if first else []
    argv += ["-l", found["user"]] if found["user"] else []
    argv += ["-p", found["port"]] if found["port"] else []
    argv += ["-W", "FORWARD", "--", found["host"].strip("[]")]
    # ssh expands percent signs in a ProxyCommand before the shell reads it, and the inner ssh does it once more.
    return escape_percent(quote(argv)).replace(" FORWARD ", " '[%h]:%p' ", 1)
