"""A cluster's known_hosts: the trusted and revoked keys of each host, under the host's alias."""

from __future__ import annotations

import base64
import binascii
import functools
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

from flambe_ansible.files import lock, write_atomic
from flambe_ansible.ssh.processes import run_tool

REVOKED = "@revoked "  # known_hosts' own marker; ssh refuses the key even if another line trusts it

PINNED = "accepted-at-first-connection"  # the comment of a key that was not verified


def replace(path: Path, alias: str, keys: Sequence[str]) -> None:
    """Replace a host's keys (``type base64 [comment]``); revoked keys alone do not replace trusted ones.

    The file is created (0600) with its folder (0700) if it does not exist. Revoked keys have the prefix ``@revoked``. A
    line that is not a public key raises ``ValueError``.
    """
    replace_each(path, {alias: keys})


def replace_each(path: Path, keys: Mapping[str, Sequence[str]]) -> None:
    """Replace the keys of several hosts, by alias, with one write; see :func:`replace`."""
    fresh: list[str] = []
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with lock(path.with_name(path.name + ".lock")):
        for alias, given in keys.items():
            trusted, revoked = normalise_each(given)
            if revoked and not trusted:
                trusted = [key for key in keys_of(path, alias) if key not in revoked]
            fresh += [f"{REVOKED}{alias} {key}" for key in revoked] + [f"{alias} {key}" for key in trusted]
        kept = [line for line in _lines(path) if keys.keys().isdisjoint(_names(line))]
        write_atomic(path, "".join(f"{line}\n" for line in [*kept, *fresh]))


def keys_of(path: Path, alias: str) -> list[str]:
    """List a host's trusted keys, each as ``type base64``."""
    return [" ".join(line.split()[1:3]) for line in _find(path, alias) if not line.startswith("@")]


def mark_pinned(path: Path, alias: str) -> None:
    """Mark a host's trusted keys as accepted without verification."""
    with lock(path.with_name(path.name + ".lock")):
        lines = [
            f"{alias} {' '.join(line.split()[1:3])} {PINNED}"
            if alias in _names(line) and not line.startswith("@")
            else line
            for line in _lines(path)
        ]
        write_atomic(path, "".join(f"{line}\n" for line in lines))


def is_pinned(path: Path, alias: str) -> bool:
    """Return whether a host's keys are marked as accepted without verification."""
    return any(line.endswith(f" {PINNED}") for line in _find(path, alias))


def normalise(key: str) -> str:
    """Drop a public key's comment; ``ValueError`` if it is not a public key."""
    parts = key.split()
    if len(parts) < 2 or parts[0].startswith("@"):
        raise ValueError(f"not a public key: {key[:60]!r}")
    try:
        blob = base64.b64decode(parts[1], validate=True)
    except binascii.Error as e:
        raise ValueError(f"not a public key: {key[:60]!r}") from e
    length = int.from_bytes(blob[:4], "big")
    if blob[4 : 4 + length] != parts[0].encode():
        raise ValueError(f"not a public key of type {parts[0]}: {key[:60]!r}")
    return f"{parts[0]} {parts[1]}"


def normalise_each(keys: Sequence[str]) -> tuple[list[str], list[str]]:
    """Normalise keys without duplicates; return the trusted ones, and those with the prefix ``@revoked``."""
    trusted = dict.fromkeys(normalise(key) for key in keys if not key.startswith(REVOKED))
    revoked = dict.fromkeys(normalise(key.removeprefix(REVOKED)) for key in keys if key.startswith(REVOKED))
    return list(trusted), list(revoked)


def fingerprint(key: str) -> str:
    """Compute a key's fingerprint in OpenSSH's format: ``SHA256:...``."""
    digest = hashlib.sha256(base64.b64decode(key.split()[1])).digest()
    return "SHA256:" + base64.b64encode(digest).decode().rstrip("=")


def describe(key: str) -> str:
    """Describe a key by its fingerprint and type, such as ``SHA256:... (ED25519)``."""
    kind = key.split()[0].removeprefix("ssh-").split("-")[0].upper()
    return f"{fingerprint(key)} ({kind})"


def look_up(path: Path, address: str, *, port: int = 22) -> list[str]:
    """List the keys of an address in a user's known_hosts, as ``type base64``; hashed names and patterns match too.

    Revoked ones have the prefix ``@revoked``. Lines with ``@cert-authority`` are left out: they hold the key of an
    authority, not of a host.
    """
    name = address if port == 22 else f"[{address}]:{port}"
    answer = run_tool(["ssh-keygen", "-F", name, "-f", str(path)], host=address)
    lines = [line for line in answer.stdout.splitlines() if line and not line.startswith("#")]
    revoked = [line.removeprefix(REVOKED).split() for line in lines if line.startswith(REVOKED)]
    plain = [line.split() for line in lines if not line.startswith("@")]
    return [" ".join(parts[1:3]) for parts in plain if len(parts) >= 3] + [
        REVOKED + " ".join(parts[1:3]) for parts in revoked if len(parts) >= 3
    ]


def _find(path: Path, alias: str) -> list[str]:
    """Return the lines of a host. The file is read again only if it has changed."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return []
    return _index(path, found.st_ino, found.st_size, found.st_mtime_ns).get(alias, [])


@functools.lru_cache(maxsize=4)
def _index(path: Path, *_version: int) -> dict[str, list[str]]:
    """Return the lines of a file by the names of hosts."""
    found: dict[str, list[str]] = {}
    for line in _lines(path):
        for name in _names(line):
            found.setdefault(name, []).append(line)
    return found


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text().splitlines()
    except FileNotFoundError:
        return []


def _names(line: str) -> list[str]:
    """Return the names of a line; a marker may precede them."""
    words = line.split()
    if not words or words[0].startswith("#"):
        return []
    names = words[1:2] if words[0].startswith("@") else words[:1]
    return names[0].split(",") if names else []
