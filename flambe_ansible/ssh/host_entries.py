"""Hosts as entries of ``ssh_config(5)``, so that plain ssh, rsync and editors reach them with verified keys.

The entries of a cluster are a file in its state folder. One ``Include`` line at the top of the user's own configuration
reads the files of all clusters; an ``Include`` below a ``Host`` line would apply to that host only.
"""

from __future__ import annotations

import glob
from pathlib import Path

from flambe_ansible.files import write_atomic
from flambe_ansible.paths import state_root
from flambe_ansible.ssh.options import Target, quote_value

FILE = "ssh_config"  # in the state folder of a cluster
_INDENT = "    "


def write_entry(name: str, target: Target) -> str:
    """Write the entry of a host; ssh refuses the host unless its key is in the cluster's known_hosts."""
    route = f"ProxyCommand {target.proxy_command}" if target.proxy_command else "ProxyJump none"
    lines = [
        f"HostName {target.address}",
        f"Port {target.port}",
        f"User {target.username}",
        f"IdentityFile {quote_value(target.key)}",
        "IdentitiesOnly yes",
        f"UserKnownHostsFile {quote_value(target.known_hosts)}",
        "GlobalKnownHostsFile /dev/null",
        f"HostKeyAlias {target.alias}",
        "StrictHostKeyChecking yes",
        "CheckHostIP no",
        "UpdateHostKeys no",
        "ForwardAgent no",
        route,
    ]
    return "".join([f"Host {name}\n", *(f"{_INDENT}{line}\n" for line in lines)])


def is_installed(state_dir: Path) -> bool:
    """Return whether a cluster has a file of entries."""
    return (state_dir / FILE).exists()


def install(state_dir: Path, text: str) -> Path:
    """Write the entries of a cluster to its file (0600), and return it."""
    path = state_dir / FILE
    write_atomic(path, text)
    return path


def remove(state_dir: Path) -> bool:
    """Remove the entries of a cluster; return whether there were any."""
    installed = is_installed(state_dir)
    (state_dir / FILE).unlink(missing_ok=True)
    return installed


def are_installed() -> bool:
    """Return whether any cluster has a file of entries."""
    return any(state_root().glob(f"clusters/*/{FILE}"))


def include_line() -> str:
    """Return the line that reads the entries of all clusters."""
    path = f"{glob.escape(str(state_root()))}/clusters/*/{FILE}"
    escaped = path.replace("\\", r"\\").replace('"', r"\"")
    return f'Include "{escaped}"'


def is_included(config: Path) -> bool:
    """Return whether the user's configuration has the line."""
    return include_line() in _read(config).splitlines()


def include(config: Path) -> None:
    """Add the line at the top of the user's configuration, unless it is there; a new file is private (0600)."""
    if is_included(config):
        return
    config.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    text = _read(config)
    _replace(config, f"{include_line()}\n{text}")


def exclude(config: Path) -> bool:
    """Remove the line from the user's configuration; return whether it was there."""
    if not is_included(config):
        return False
    line = include_line()
    _replace(config, "".join(one for one in _read(config).splitlines(keepends=True) if one.rstrip("\r\n") != line))
    return True


def _read(config: Path) -> str:
    try:
        return config.read_text(encoding="utf-8", errors="surrogateescape")
    except FileNotFoundError:
        return ""


def _replace(config: Path, text: str) -> None:
    """Replace the text in one step; the mode is kept, and a link stays a link."""
    target = config.resolve()
    mode = target.stat().st_mode & 0o777 if target.exists() else 0o600
    write_atomic(target, text.encode("utf-8", errors="surrogateescape"), mode=mode)
