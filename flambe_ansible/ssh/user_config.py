"""The host keys that the user's own OpenSSH configuration trusts or revokes."""

from __future__ import annotations

from pathlib import Path

from flambe_ansible.ssh import known_hosts
from flambe_ansible.ssh.processes import run_tool


def find_keys(address: str, *, port: int, username: str) -> list[str]:
    """Find the keys of a host in the user's known_hosts files.

    The files are those of ``ssh -G`` (``UserKnownHostsFile``, ``GlobalKnownHostsFile``). The name is the address, or
    the user's ``HostKeyAlias`` for it; hashed names match too. Lines with ``@revoked`` are used; lines with
    ``@cert-authority`` are not: the certificate of a host is for its name, and the connections use an alias.

    Args:
        address: The host's address.
        port: The port of its sshd.
        username: The user to log in as.

    Returns:
        Each key as ``type base64``, revoked ones with the prefix ``@revoked``; a revoked key is not listed as trusted.

    Raises:
        HostConnectionError: ssh is missing or did not answer.
    """
    answer = run_tool(["ssh", "-G", "-p", str(port), "-l", username, "--", address], host=address)
    if answer.returncode != 0:
        return []
    files, alias = parse_settings(answer.stdout)
    found: list[str] = []
    for file in files:
        if file.is_file():
            found += known_hosts.look_up(file, alias) if alias else known_hosts.look_up(file, address, port=port)
    return [key for key in dict.fromkeys(found) if known_hosts.REVOKED + key not in found]


def parse_settings(settings: str) -> tuple[list[Path], str]:
    """Read the known_hosts files and the HostKeyAlias ("" if there is none) from the output of ``ssh -G``.

    The output has paths without quotes; a path with a space is read as two paths.
    """
    values = dict(line.split(" ", 1) for line in settings.splitlines() if " " in line)
    names = f"{values.get('userknownhostsfile', '')} {values.get('globalknownhostsfile', '')}".split()
    files = [Path(name).expanduser() for name in names if name not in ("none", "/dev/null")]
    return files, values.get("hostkeyalias", "")
