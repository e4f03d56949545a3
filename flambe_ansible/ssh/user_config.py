"""What the user's own OpenSSH knows of a host: the keys in their known_hosts."""

from __future__ import annotations

import subprocess
from pathlib import Path

from flambe_ansible.ssh import known_hosts


def find_keys(address: str, *, port: int, username: str) -> list[str]:
    """Find the keys that the user's own ``ssh`` would believe of a host, hashed entries included.

    The files are those that ``ssh -G`` names (``UserKnownHostsFile``, ``GlobalKnownHostsFile``), the name is the
    address, or the user's ``HostKeyAlias`` for it.

    Args:
        address: Where the host answers.
        port: Its sshd's port.
        username: Who logs in.

    Returns:
        Each key as ``type base64``; none where the user's files do not know the host.
    """
    argv = ["ssh", "-G", "-p", str(port), "-l", username, "--", address]
    answer = subprocess.run(argv, capture_output=True, stdin=subprocess.DEVNULL, text=True, check=False, timeout=30)
    if answer.returncode != 0:
        return []
    files, alias = parse_settings(answer.stdout)
    found: list[str] = []
    for file in files:
        if not file.is_file():
            continue
        found += known_hosts.look_up(file, alias) if alias else known_hosts.look_up(file, address, port=port)
    return list(dict.fromkeys(found))


def parse_settings(settings: str) -> tuple[list[Path], str]:
    """Read the known_hosts files and the HostKeyAlias ("" where there is none) from what ``ssh -G`` printed.

    It prints paths without quotes, so that one with a space in it cannot be told from two.
    """
    values = dict(line.split(" ", 1) for line in settings.splitlines() if " " in line)
    names = f"{values.get('userknownhostsfile', '')} {values.get('globalknownhostsfile', '')}".split()
    files = [Path(name).expanduser() for name in names if name not in ("none", "/dev/null")]
    return files, values.get("hostkeyalias", "")
