"""The route to a host: the user's own ProxyJump or ProxyCommand, or the cluster's bastion."""

from __future__ import annotations

import re
from pathlib import Path

from flambe_ansible.ssh.options import escape_percent, quote, quote_value
from flambe_ansible.ssh.processes import read_config

NONE = "none"  # ssh's own word for a direct connection
_JUMP = re.compile(r"^(?:ssh://)?(?:(?P<user>[^@]+)@)?(?P<host>\[[^\]]+\]|[^:@\[\]]+)(?::(?P<port>\d+))?$")


def find_proxy(address: str, *, port: int, username: str) -> str | None:
    """Find the ProxyCommand for an address in the user's own configuration; None for a direct connection.

    A ProxyJump becomes an ``ssh -W`` that reads the user's full configuration, so that the bastion's user, key and host
    key are those of the user.
    """
    return parse_proxy(read_config(address, port=port, username=username))


def parse_proxy(settings: str) -> str | None:
    """Read the ProxyCommand from the output of ``ssh -G``."""
    values = dict(line.split(" ", 1) for line in settings.splitlines() if " " in line)
    jump = values.get("proxyjump", "none")
    if jump.lower() != "none":
        return jump_command(jump)
    command = values.get("proxycommand", "none")
    return None if command.lower() == "none" else command


def describe(proxy_command: str) -> str:
    """Name the way of a ProxyCommand in words that follow the address of a host."""
    words = proxy_command.split()
    if words[:1] == ["ssh"] and words[-4:-3] == ["-W"]:
        return f" through the jump host {words[-1]}"
    return f" through the ProxyCommand of ~/.ssh/config ({words[0] if words else proxy_command})"


def jump_command(jump: str, *, key: Path | None = None, known_hosts: Path | None = None) -> str:
    """Convert a ProxyJump (``[user@]host[:port]``, several separated by commas) to a ProxyCommand.

    The key and the known_hosts are used for the bastion in addition to those of the user's configuration.
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
    # Percent signs are expanded twice: by ssh in the ProxyCommand, and by the inner ssh.
    return escape_percent(quote(argv)).replace(" FORWARD ", " '[%h]:%p' ", 1)
