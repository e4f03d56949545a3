"""Private SSH keys for tests, generated once per process."""

from __future__ import annotations

import functools
import subprocess
import tempfile
from pathlib import Path


@functools.cache
def private_key(kind: str = "ed25519", *, passphrase: str = "", file_format: str = "RFC4716") -> str:
    """Generate a private key and return the content of its file; the same arguments give the same key."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "key"
        argv = ["ssh-keygen", "-q", "-t", kind, "-m", file_format, "-N", passphrase, "-C", "", "-f", str(path)]
        subprocess.run(argv, check=True, timeout=60)
        return path.read_text()


@functools.cache
def public_key(content: str) -> str:
    """Return the public half of a private key without passphrase."""
    with tempfile.TemporaryDirectory() as folder:
        path = write_key(Path(folder) / "key", content)
        return subprocess.run(["ssh-keygen", "-y", "-f", path], check=True, capture_output=True, text=True).stdout


def write_key(path: Path, content: str | bytes = "") -> Path:
    """Write a private key that only its owner can read."""
    content = content or private_key()
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    path.chmod(0o600)
    return path
