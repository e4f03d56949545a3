"""A cluster's known_hosts: the trusted and revoked keys of each host, under the host's alias."""

from __future__ import annotations

import base64
import binascii
import fnmatch
import functools
import hashlib
import hmac
from collections.abc import Mapping, Sequence
from pathlib import Path

from flambe_ansible.files import lock, write_atomic

REVOKED = "@revoked "  # known_hosts' own marker; ssh refuses the key even if another line trusts it

HASHED = "|1|"  # the start of hashed names

PINNED = "accepted-at-first-connection"  # the comment of a key that was not verified

_Line = tuple[int, str, bool]  # of a file: its number, its text without a marker, and whether its key is revoked


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
    name = (address if port == 22 else f"[{address}]:{port}").lower()
    exact, others = _read_names(path, *_version(path))
    numbered = [*exact.get(name, ()), *(one for one in others if _matches(name, one[1].split(maxsplit=1)[0]))]
    lines = [(line.split()[1:3], is_revoked) for _, line, is_revoked in sorted(numbered)]
    keys = [(REVOKED if is_revoked else "") + " ".join(words) for words, is_revoked in lines if len(words) == 2]
    return sorted(keys, key=lambda key: key.startswith(REVOKED))


@functools.lru_cache(maxsize=8)
def _read_names(path: Path, *_version: int) -> tuple[dict[str, list[_Line]], list[_Line]]:
    """Return the lines with the keys of hosts: those with plain names by name, and those with hashes or patterns."""
    exact: dict[str, list[_Line]] = {}
    others: list[_Line] = []
    for number, full in enumerate(_lines(path, errors="replace")):  # comments may have any encoding
        text = full.strip()
        line = text.removeprefix(REVOKED).strip()
        if not line or line[0] in "#@":
            continue
        names = line.split(maxsplit=1)[0].lower()
        one = number, line, text.startswith(REVOKED)
        if names.startswith(HASHED) or set(names) & set("*?!"):
            others.append(one)
        else:
            for name in dict.fromkeys(names.split(",")):
                exact.setdefault(name, []).append(one)
    return exact, others


def _matches(name: str, names: str) -> bool:
    """Return whether the names of a line match a name, as in sshd(8): hashed, or patterns of which none is negated."""
    if names.startswith(HASHED):
        salt, _, digest = names.removeprefix(HASHED).partition("|")
        try:
            return hmac.digest(base64.b64decode(salt), name.encode(), "sha1") == base64.b64decode(digest)
        except binascii.Error:
            return False
    patterns = names.lower().split(",")
    if any(one.startswith("!") and _fits(name, one[1:]) for one in patterns):
        return False
    return any(_fits(name, one) for one in patterns if not one.startswith("!"))


def _fits(name: str, pattern: str) -> bool:
    """Return whether a name fits a pattern with ``*`` and ``?``; brackets are not special, unlike in fnmatch."""
    if not set(pattern) & set("*?"):
        return name == pattern
    return fnmatch.fnmatchcase(name, pattern.replace("[", "[[]"))


def _find(path: Path, alias: str) -> list[str]:
    """Return the lines of a host. The file is read again only if it has changed."""
    return _index(path, *_version(path)).get(alias, [])


def _version(path: Path) -> tuple[int, ...]:
    """Return what changes with a file's content; () if there is no file."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return ()
    return found.st_ino, found.st_size, found.st_mtime_ns


@functools.lru_cache(maxsize=4)
def _index(path: Path, *_version: int) -> dict[str, list[str]]:
    """Return the lines of a file by the names of hosts."""
    found: dict[str, list[str]] = {}
    for line in _lines(path):
        for name in _names(line):
            found.setdefault(name, []).append(line)
    return found


def _lines(path: Path, *, errors: str = "strict") -> list[str]:
    try:
        return path.read_text(errors=errors).splitlines()
    except FileNotFoundError:
        return []


def _names(line: str) -> list[str]:
    """Return the names of a line; a marker may precede them."""
    words = line.split()
    if not words or words[0].startswith("#"):
        return []
    names = words[1:2] if words[0].startswith("@") else words[:1]
    return names[0].split(",") if names else []
