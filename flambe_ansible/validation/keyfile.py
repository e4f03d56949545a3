"""The rule for the user's private SSH key: a file that only its owner can read and that ssh can use."""

from __future__ import annotations

import base64
import contextlib
import functools
import os
import shlex
import stat
import subprocess
from pathlib import Path

from flambe_ansible.validation.missing import check_path, describe_missing
from flambe_ansible.validation.schema import Flaw

MAX_BYTES = 64 * 1024  # the largest keys have some 13 KiB
TIMEOUT = 10.0  # seconds for ssh-keygen and ssh-add
PUBLIC_STARTS = (b"ssh-", b"ecdsa-", b"sk-ssh-", b"sk-ecdsa-", b"---- BEGIN SSH2 PUBLIC KEY", b"-----BEGIN PUBLIC KEY")


def private_key(value: str | os.PathLike[str]) -> list[Flaw]:
    """Check that a path leads to a private key that ssh can use and only its owner can read."""
    if "-----BEGIN" in os.fspath(value):
        return [Flaw(message="contains the key itself", expected="the path of the key file")]
    return check_path(value, _find_flaw)


def read_public_key(path: Path) -> str:
    """Return the type and the content of the public half of a private key.

    It is "" if the key cannot be read, or has a passphrase and no file with the suffix ``.pub``.
    """
    done = _run("ssh-keygen", "-y", "-P", "", "-f", str(path))
    text = done.stdout if done and not done.returncode else ""
    if not text:
        with contextlib.suppress(OSError, ValueError):
            text = path.with_name(f"{path.name}.pub").read_text()
    kind, _, content = " ".join(text.split()[:2]).partition(" ")
    try:
        return f"{kind} {content}" if base64.b64decode(content, validate=True) else ""
    except ValueError:
        return ""


def _find_flaw(path: Path) -> Flaw | None:
    try:
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            return Flaw(message=f"is {path}, which is a folder")
        if not stat.S_ISREG(status.st_mode):
            return Flaw(message=f"is {path}, which is not a regular file")
        with path.open("rb") as file:
            content = file.read(MAX_BYTES)
    except (FileNotFoundError, NotADirectoryError):
        return describe_missing(path, kind="file", may_be=lambda one: one.suffix != ".pub")
    return (
        _check_format(path, content.lstrip())
        or _check_mode(path, stat.S_IMODE(status.st_mode))
        or _check_usable(path, content, status)
    )


def _check_format(path: Path, content: bytes) -> Flaw | None:
    if not content:
        return Flaw(message=f"is {path}, which is empty")
    if content.startswith(PUBLIC_STARTS):
        private = path.with_suffix("")
        meant = str(private) if path.suffix == ".pub" and private.is_file() else ""
        return Flaw(message=f"is {path}, which is a public key", expected="the private key", suggestion=meant)
    if content.startswith(b"PuTTY-User-Key-File"):
        expected = f"OpenSSH's format: puttygen {shlex.quote(str(path))} -O private-openssh -o key.pem"
        return Flaw(message=f"is {path}, a key in PuTTY's format", expected=expected)
    if b"-----BEGIN " not in content or b"PRIVATE KEY-----" not in content:
        return Flaw(message=f"is {path}, which is not a private key")
    return None


def _check_mode(path: Path, mode: int) -> Flaw | None:
    if mode & 0o077:
        return Flaw(
            message=f"is {path}, which other users can access (mode {mode:04o})",
            expected=f"mode 0600: chmod 600 {shlex.quote(str(path))}",
        )
    return None


def _check_usable(path: Path, content: bytes, status: os.stat_result) -> Flaw | None:
    """Check that ssh can load the key without asking for a passphrase, from the file or from the agent."""
    reason = _load(str(path), status.st_ino, status.st_mtime_ns)
    if not reason:
        return None
    quoted = shlex.quote(str(path))
    if "passphrase" in reason:
        return _check_agent(path)
    if b"\r\n" in content:
        expected = f"Unix line ends: sed -i 's/\\r$//' {quoted}"
        return Flaw(message=f"is {path}, which has Windows line ends (CRLF)", expected=expected)
    if b"-----END " not in content:
        return Flaw(message=f"is {path}, which is incomplete: the -----END line is missing", expected="the whole key")
    if not content.endswith(b"\n"):
        expected = f"a line break at the end: echo >> {quoted}"
        return Flaw(message=f"is {path}, which has no line break after its last line", expected=expected)
    return Flaw(message=f"is {path}, which ssh-keygen cannot read: {reason}", expected="a valid private key")


@functools.lru_cache(maxsize=16)
def _load(path: str, _inode: int, _modified: int) -> str:
    """Load a private key with ssh-keygen; return the error, or "" also if ssh-keygen is missing or does not answer."""
    done = _run("ssh-keygen", "-y", "-P", "", "-f", path)
    if done is None or not done.returncode:
        return ""
    lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
    return lines[-1].removeprefix(f'Load key "{path}": ')


def _check_agent(path: Path) -> Flaw | None:
    """Check that ssh-agent has a key that is protected by a passphrase."""
    quoted = shlex.quote(str(path))
    fingerprint = _fingerprints(_run("ssh-keygen", "-l", "-E", "sha256", "-f", str(path)))
    if not fingerprint:
        return Flaw(
            message=f"is {path}, which needs a passphrase, and ssh-agent needs {path}.pub, which does not exist",
            expected=f"both: ssh-keygen -y -f {quoted} > {shlex.quote(f'{path}.pub')}, then ssh-add {quoted}",
        )
    if fingerprint & _fingerprints(_run("ssh-add", "-l", "-E", "sha256")):
        return None
    start = "" if os.environ.get("SSH_AUTH_SOCK") else 'eval "$(ssh-agent)" && '
    return Flaw(
        message=f"is {path}, which needs a passphrase, and ssh-agent does not have this key",
        expected=f"the key in the agent: {start}ssh-add {quoted}",
    )


def _fingerprints(done: subprocess.CompletedProcess[str] | None) -> set[str]:
    """Return the fingerprints in lines such as ``256 SHA256:... comment (ED25519)``."""
    lines = done.stdout.splitlines() if done and not done.returncode else []
    return {word for line in lines for word in line.split()[1:2]}


def _run(*argv: str) -> subprocess.CompletedProcess[str] | None:
    """Run a program of OpenSSH; return None if it is not installed or exceeds the time limit."""
    try:
        return subprocess.run(
            argv, stdin=subprocess.DEVNULL, capture_output=True, encoding="utf-8", errors="replace",
            timeout=TIMEOUT, check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return None
