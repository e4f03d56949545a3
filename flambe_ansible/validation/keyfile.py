"""The rule for the user's private SSH key: a file of one's own that ssh will take."""

from __future__ import annotations

import os
import shlex
import stat
from pathlib import Path

from flambe_ansible.validation.missing import describe_missing
from flambe_ansible.validation.schema import Flaw

HEAD = 4096  # bytes that tell what a key file is
PUBLIC_STARTS = (b"ssh-", b"ecdsa-", b"sk-ssh-", b"sk-ecdsa-", b"---- BEGIN SSH2 PUBLIC KEY", b"-----BEGIN PUBLIC KEY")


def private_key(value: str | os.PathLike[str]) -> list[Flaw]:
    """Check that a path leads to a private key that only its owner can read."""
    text = os.fspath(value)
    if "-----BEGIN" in text:
        return [Flaw(message="holds a key itself", expected="the path of the key's file")]
    if not text.strip():
        return [Flaw(message="is empty")]
    if "\0" in text:
        return [Flaw(message="has a NUL character")]
    path = Path(os.path.expanduser(text))  # noqa: PTH111 - Path.expanduser raises for users that do not exist
    flaw = _find_flaw(path)
    return [flaw] if flaw else []


def _find_flaw(path: Path) -> Flaw | None:
    try:
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            return Flaw(message=f"is the folder {path}")
        if not stat.S_ISREG(status.st_mode):
            return Flaw(message=f"is {path}, which is no regular file")
        with path.open("rb") as file:
            head = file.read(HEAD)
    except (FileNotFoundError, NotADirectoryError):
        return describe_missing(path, kind="file", may_be=lambda one: one.suffix != ".pub")
    except OSError as error:
        return Flaw(message=f"cannot be read: {path}: {error.strerror or error}")
    return _check_content(path, head.lstrip()) or _check_mode(path, stat.S_IMODE(status.st_mode))


def _check_content(path: Path, head: bytes) -> Flaw | None:
    if not head:
        return Flaw(message=f"is {path}, an empty file")
    if head.startswith(PUBLIC_STARTS):
        private = path.with_suffix("")
        meant = str(private) if path.suffix == ".pub" and private.is_file() else ""
        return Flaw(message=f"is {path}, a public key", expected="the private key", suggestion=meant)
    if head.startswith(b"PuTTY-User-Key-File"):
        expected = f"OpenSSH's format: puttygen {shlex.quote(str(path))} -O private-openssh -o key.pem"
        return Flaw(message=f"is {path}, a key in PuTTY's format", expected=expected)
    if b"-----BEGIN " not in head or b"PRIVATE KEY-----" not in head:
        return Flaw(message=f"is {path}, which holds no private key")
    return None


def _check_mode(path: Path, mode: int) -> Flaw | None:
    if mode & 0o077:
        return Flaw(
            message=f"is {path}, and others than its owner have access to it (mode {mode:04o})",
            expected=f"mode 0600: chmod 600 {shlex.quote(str(path))}",
        )
    return None
