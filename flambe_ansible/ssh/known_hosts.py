"""A cluster's known_hosts: which key each host must show, under the host's alias."""

from __future__ import annotations

import base64
import binascii
import fcntl
import hashlib
import os
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path


def replace(path: Path, alias: str, keys: Sequence[str]) -> None:
    """Write a host's keys into a known_hosts, in place of all that the file had for it.

    Args:
        path: The file; it is made (0600) with its folder (0700) where it is missing.
        alias: The name that connections look for.
        keys: Public keys such as ``ssh-ed25519 AAAA... comment``; comments are dropped.

    Raises:
        ValueError: A line is no public key.
    """
    fresh = [f"{alias} {normalise(key)}" for key in keys]
    with _locked(path):
        kept = [line for line in _lines(path) if alias not in _names(line)]
        _write(path, "".join(f"{line}\n" for line in [*kept, *dict.fromkeys(fresh)]))


def keys_of(path: Path, alias: str) -> list[str]:
    """List a host's keys, each as ``type base64``."""
    return [" ".join(line.split()[1:3]) for line in _lines(path) if alias in _names(line)]


def normalise(key: str) -> str:
    """Check a public key and drop its comment.

    Raises:
        ValueError: It is none.
    """
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


def fingerprint(key: str) -> str:
    """Compute a key's fingerprint as OpenSSH prints it: ``SHA256:...``."""
    digest = hashlib.sha256(base64.b64decode(key.split()[1])).digest()
    return "SHA256:" + base64.b64encode(digest).decode().rstrip("=")


def describe(key: str) -> str:
    """Name a key by its fingerprint and type, such as ``SHA256:... (ED25519)``."""
    kind = key.split()[0].removeprefix("ssh-").split("-")[0].upper()
    return f"{fingerprint(key)} ({kind})"


def look_up(path: Path, address: str, *, port: int = 22) -> list[str]:
    """List the keys that a user's own known_hosts has for an address, hashed names included."""
    name = address if port == 22 else f"[{address}]:{port}"
    argv = ["ssh-keygen", "-F", name, "-f", str(path)]
    answer = subprocess.run(argv, capture_output=True, stdin=subprocess.DEVNULL, text=True, check=False, timeout=30)
    lines = (line.split() for line in answer.stdout.splitlines() if line and line[0] not in "#@")
    return [" ".join(parts[1:3]) for parts in lines if len(parts) >= 3]


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text().splitlines()
    except FileNotFoundError:
        return []


def _names(line: str) -> list[str]:
    return line.split()[0].split(",") if line.strip() and not line.startswith("#") else []


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Keep two processes from losing each other's lines."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    descriptor = os.open(path.with_name(path.name + ".lock"), os.O_CREAT | os.O_RDWR, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _write(path: Path, text: str) -> None:
    """Replace the file in one step; mkstemp makes it 0600."""
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=path.name)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
    Path(name).replace(path)
