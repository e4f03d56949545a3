"""The host keys that the user's own OpenSSH configuration trusts or revokes."""

from __future__ import annotations

from pathlib import Path

from flambe_ansible.ssh import known_hosts
from flambe_ansible.ssh.processes import read_config


def find_keys(address: str, *, port: int, username: str) -> list[str]:
    """Find the keys of a host in the user's known_hosts files, each as ``type base64``.

    The name is the address, or the user's ``HostKeyAlias`` for it; hashed names match too. A revoked key has the prefix
    ``@revoked``, and is not listed as trusted. Lines with ``@cert-authority`` are not used: the certificate of a host
    is for its name, and the connections use an alias.
    """
    files, alias = parse_settings(read_config(address, port=port, username=username))
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
