"""The program that writes and verifies the receipt of a host; it runs there as root, with Python 3.8 or later.

``fleet/receipts.py`` sends the text of this file over a connection, with a call of one of the functions. A receipt has
the digest of what a launch configured, and per role the facts that prove its state: files with their hashes, folders
with the sizes and times of their files, states of units, and exit codes of checks.
"""

from __future__ import annotations

import contextlib
import glob
import hashlib
import json
import os
import pwd
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

TYPE_CHECKING = False  # the import of typing takes a third of the time of this program
if TYPE_CHECKING:
    from typing import Any

RECEIPT = "/var/lib/flambe-cluster/receipt.json"
SCHEMA = 2
BOOT_ID = "/proc/sys/kernel/random/boot_id"
_LOST_AT_REBOOT = ("boot", "units", "checks")
_CHECK_SECONDS = 10
_UNIT_FACTS = ("LoadState", "ActiveState", "UnitFileState", "NeedDaemonReload")


def verify(digest: str, restart: Sequence[str] = (), path: str = RECEIPT) -> None:
    """Compare this host with its receipt, and print a JSON document.

    Its ``reason`` is why the receipt cannot be used, or ""; ``differs`` has the first difference of each role that
    differs, and ``roles`` lists all roles of the receipt, in their order. After a reboot, the roles differ that have
    units or checks, or set ``boot``. If nothing differs, the command ``restart`` runs.
    """
    receipt = _read(path)
    reason = _find_reason(receipt, digest)
    roles = receipt["roles"] if receipt.get("schema") == SCHEMA else {}
    rebooted = not reason and receipt["boot_id"] != _read_boot_id()
    differs = {}
    for name, known in () if reason else roles.items():
        difference = _find_difference(known["facts"], observe(known["proof"], receipt["user"]))
        if not difference and rebooted and any(known["proof"].get(kind) for kind in _LOST_AT_REBOOT):
            difference = "the host was rebooted"
        if difference:
            differs[name] = difference
    if not reason and not differs:
        _run(restart)
    print(json.dumps({"reason": reason, "differs": differs, "roles": list(roles)}))


def write(
    digest: str,
    user: str,
    proofs: Mapping[str, Mapping[str, Any]],
    restart: Sequence[str] = (),
    path: str = RECEIPT,
) -> None:
    """Write the receipt of this host, the facts of its roles as they are now; then run the command ``restart``."""
    roles = {name: {"proof": proof, "facts": observe(proof, user)} for name, proof in proofs.items()}
    document = {
        "schema": SCHEMA,
        "digest": digest,
        "python": sys.executable,
        "user": user,
        "boot_id": _read_boot_id(),
        "roles": roles,
    }
    target = Path(path)
    target.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    handle, draft = tempfile.mkstemp(dir=target.parent)  # 0600
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        json.dump(document, file)
    Path(draft).replace(target)
    _run(restart)


def remove(path: str = RECEIPT) -> None:
    """Remove the receipt of this host."""
    with contextlib.suppress(FileNotFoundError):
        Path(path).unlink()


def observe(proof: Mapping[str, Any], user: str) -> dict[str, str]:
    """Return the facts of one role: what was observed -> its state."""
    home = pwd.getpwnam(user).pw_dir
    facts = {}
    for pattern in proof.get("files") or ():
        wanted = _expand(pattern, home)
        for path in sorted(glob.glob(wanted)) or [wanted]:  # noqa: PTH207 - the pattern is absolute
            facts[path] = _describe_file(path)
    for pattern in proof.get("folders") or ():
        path = _expand(pattern, home)
        facts[f"the files in {path}"] = _describe_folder(path)
    facts.update(_describe_units(list(proof.get("units") or ())))
    for words in proof.get("checks") or ():
        facts[" ".join(words)] = _check(words)
    return facts


def _read(path: str) -> dict[str, Any]:
    """Read a receipt; {} if there is none, or if it is damaged."""
    try:
        document = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return document if isinstance(document, dict) else {}


def _find_reason(receipt: Mapping[str, Any], digest: str) -> str:
    """Return why a receipt proves nothing."""
    if not receipt:
        return "no launch has completed"
    if receipt.get("schema") != SCHEMA:
        return f"{RECEIPT} has version {receipt.get('schema')!r}, and this flambe-ansible supports version {SCHEMA}"
    same = receipt["digest"] == digest and receipt["python"] == sys.executable
    return "" if same else "the configuration changed"


def _find_difference(known: Mapping[str, str], found: Mapping[str, str]) -> str:
    """Describe the first difference between two sets of facts, in a few words; "" if there is none."""
    for name in {**known, **found}:
        before, now = known.get(name, ""), found.get(name, "")
        if before != now:
            if not now or now == "missing":
                return f"{name} is missing"
            return f"{name} is new" if not before or before == "missing" else _word(name, before, now)
    return ""


def _word(name: str, before: str, now: str) -> str:
    """Describe a changed fact; the state of a unit and the end of a check are shown, hashes are not."""
    if before == "ok":
        return f"{name}: {now}"
    return f"{name} changed" if " " in now else f"{name} is {now}"


def _expand(pattern: str, home: str) -> str:
    return home + pattern[1:] if pattern == "~" or pattern.startswith("~/") else pattern


def _describe_file(path: str) -> str:
    """Describe a file by its mode, owner, link and content; a link's content is that of its target."""
    try:
        info = os.lstat(path)
        link = str(Path(path).readlink()) if stat.S_ISLNK(info.st_mode) else ""
        content = Path(path).read_bytes()
    except FileNotFoundError:
        return "missing"
    except OSError as error:
        return f"unreadable {error.errno}"
    # The end of a job changes this line of Ray's unit: which start of the head a factory has joined.
    lasting = b"\n".join(line for line in content.split(b"\n") if not line.startswith(b"# head: "))
    return f"{info.st_mode:o} {info.st_uid}:{info.st_gid} {link} {hashlib.sha256(lasting).hexdigest()}"


def _describe_folder(path: str) -> str:
    """Describe a folder by the names, modes, sizes and times of its files; byte code is left out."""
    if not Path(path).is_dir():
        return "missing"
    digest = hashlib.sha256()
    for line in _walk(path):
        digest.update(line.encode("utf-8", "surrogateescape"))
    return f"files {digest.hexdigest()}"


def _walk(path: str) -> Iterator[str]:
    with os.scandir(path) as found:
        entries = sorted(found, key=lambda entry: entry.name)
    for entry in entries:
        if entry.is_dir(follow_symlinks=False):
            if entry.name != "__pycache__":
                yield from _walk(entry.path)
        elif not entry.name.endswith(".pyc"):
            info = entry.stat(follow_symlinks=False)
            yield f"{entry.path}\0{info.st_mode:o} {info.st_uid} {info.st_size} {info.st_mtime_ns}\n"


def _describe_units(units: Sequence[str]) -> dict[str, str]:
    """Describe units by their states; all with one call of systemctl."""
    if not units:
        return {}
    argv = ["systemctl", "show", "--property", ",".join(("Id", *_UNIT_FACTS)), *units]
    answer = subprocess.run(argv, capture_output=True, text=True, check=False)
    blocks = [dict(line.partition("=")[::2] for line in one.splitlines()) for one in answer.stdout.split("\n\n")]
    found = {one.get("Id", ""): one for one in blocks}
    return {f"{unit} {name}": found.get(unit, {}).get(name, "missing") for unit in units for name in _UNIT_FACTS}


def _check(words: Sequence[str]) -> str:
    """Run a command, and describe its exit code."""
    try:
        done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, timeout=_CHECK_SECONDS, check=False)
    except FileNotFoundError:
        return "missing"
    except subprocess.TimeoutExpired:
        return f"no answer within {_CHECK_SECONDS} s"
    return f"exit code {done.returncode}" if done.returncode else "ok"


def _run(words: Sequence[str]) -> None:
    """Run a command, if there is one; its failure is ignored."""
    if words:
        _check(words)


def _read_boot_id() -> str:
    return Path(BOOT_ID).read_text(encoding="ascii").strip()
