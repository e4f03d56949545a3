"""The program that writes and verifies the receipt of a host; it runs there as root, with Python 3.8 or later.

``fleet/receipts.py`` sends the text of this file over a connection, with a call of one of the functions. A receipt has,
per role, the digest of what the role read, the id of the launch that played it, and the facts that prove its state:
files with their hashes, folders with the sizes and times of their files, states of units, and exit codes of checks.
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
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

TYPE_CHECKING = False  # the import of typing takes a third of the time of this program
if TYPE_CHECKING:
    from typing import Any

RECEIPT = "/var/lib/flambe-cluster/receipt.json"
SCHEMA = 4
BOOT_ID = "/proc/sys/kernel/random/boot_id"
NO_RECEIPT = "no launch has completed"
DAMAGED = f"{RECEIPT} is damaged"
CHANGED = "the configuration changed"
MISSING = "not set up yet"
REBOOTED = "rebooted"
_LOST_AT_REBOOT = ("boot", "units", "checks")
_CHECK_SECONDS = 10
_BLOCK = 1 << 20  # bytes
_LARGE = 1 << 24  # bytes; larger files, programs such as uv, are described like the files of a folder
_UNIT_FACTS = ("LoadState", "ActiveState", "UnitFileState", "NeedDaemonReload")
_DROP_INS = "DropInPaths"
_RECEIPT = {"python": str, "user": str, "boot_id": str, "roles": dict}
_ROLE = {"digest": str, "launch": str, "proof": dict, "facts": dict}


def verify(
    wanted: Mapping[str, str], optional: Collection[str] = (), restart: Sequence[str] = (), path: str = RECEIPT
) -> None:
    """Compare this host with its receipt, and print a JSON document.

    Its ``reason`` is why the receipt cannot be used, or ""; ``differs`` has the first difference of each wanted role
    that differs, ``roles`` maps the wanted roles of the receipt to the launches that played them, and ``boot`` is the
    id of this boot. After a reboot, the roles differ that have units or checks, or set ``boot``. If nothing differs,
    the command ``restart`` runs.

    Args:
        wanted: The digest of each role that this host should have, in the order of the playbook.
        optional: Those that it may lack.
        restart: A command, as words.
        path: The receipt.
    """
    receipt = _read(path)
    reason = _find_reason(receipt)
    roles = {} if reason else {name: receipt["roles"][name] for name in wanted if name in receipt["roles"]}
    differs = {}
    _start_commands([known["proof"] for name, known in roles.items() if known["digest"] == wanted[name]])
    for name in () if reason else wanted:
        difference = _compare(receipt, name, wanted[name]) if name in roles else "" if name in optional else MISSING
        if difference:
            differs[name] = difference
    if not reason and not differs:
        _run(restart)
    launches = {name: known["launch"] for name, known in roles.items()}
    print(json.dumps({"reason": reason, "differs": differs, "roles": launches, "boot": _read_boot_id()}))


def write(
    roles: Mapping[str, Sequence[Any]],
    user: str,
    launch: str,
    restart: Sequence[str] = (),
    boot: str = "",
    path: str = RECEIPT,
) -> None:
    """Write the receipt of this host, the facts of its roles as they are now; then run the command ``restart``.

    If the host was rebooted since the boot ``boot``, the receipt is that of that boot, and the next launch plays what a
    reboot undoes: the roles may have been played before it. Then ``REBOOTED`` is printed.

    Args:
        roles: The digest and the proof of each role. Those of the last receipt keep the launch that played them.
        user: The login user.
        launch: The launch that played the others.
        restart: A command, as words.
        boot: The id of the boot before the roles were played, or "".
        path: The receipt.
    """
    last, now = _read(path), _read_boot_id()
    known = {} if _find_reason(last) else last["roles"]
    _start_commands([proof for _, proof in roles.values()])
    _store(
        {
            "schema": SCHEMA,
            "python": sys.executable,
            "user": user,
            "boot_id": boot or now,
            "roles": {
                name: {
                    "digest": digest,
                    "launch": known.get(name, {}).get("launch", launch),
                    "proof": proof,
                    "facts": observe(proof, user),
                }
                for name, (digest, proof) in roles.items()
            },
        },
        path,
    )
    _run(restart)
    if boot and boot != now:
        print(REBOOTED)


def keep(names: Collection[str], path: str = RECEIPT) -> None:
    """Remove the other roles from the receipt of this host; without a role, the receipt."""
    receipt = _read(path)
    known = {} if _find_reason(receipt) else receipt["roles"]
    _store(dict(receipt, roles={name: known[name] for name in known if name in names}), path)


def observe(proof: Mapping[str, Any], user: str) -> dict[str, str]:
    """Return the facts of one role: what was observed -> its state."""
    home = pwd.getpwnam(user).pw_dir
    facts = {}
    for one in proof.get("files") or ():
        pattern, except_lines = (one, "") if isinstance(one, str) else one
        wanted = _expand(pattern, home)
        for path in sorted(glob.glob(wanted)) or [wanted]:  # noqa: PTH207 - the pattern is absolute
            facts[path] = _describe_file(path, except_lines)
    for pattern in proof.get("folders") or ():
        path = _expand(pattern, home)
        facts[f"the files in {path}"] = _describe_folder(path)
    facts.update(_describe_units(list(proof.get("units") or ())))
    for words in proof.get("checks") or ():
        facts[" ".join(words)] = _check(words)
    return facts


def _read(path: str) -> dict[str, Any]:
    """Read a receipt; {} if there is none, and one without a version if it cannot be read."""
    unreadable = {"schema": None}
    if not os.path.lexists(path):
        return {}
    try:
        info = Path(path).stat()
        if not stat.S_ISREG(info.st_mode) or info.st_uid != os.geteuid() or info.st_mode & 0o022:
            return unreadable  # the program would wait for a pipe, and run what other users have written
        document = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return unreadable
    return {"schema": None, **document} if isinstance(document, dict) else unreadable


def _store(receipt: Mapping[str, Any], path: str) -> None:
    """Write a receipt (0600), or remove it if it has no roles; end the program if that fails."""
    target = Path(path)
    try:
        if not receipt["roles"] or target.is_dir():
            _remove(target)
        if receipt["roles"]:
            _write(receipt, target)
    except OSError as error:
        sys.exit(f"{path} cannot be {'written' if receipt['roles'] else 'removed'}: {error.strerror}")


def _write(receipt: Mapping[str, Any], target: Path) -> None:
    """Write a receipt at once (0600), so that it is never there in part."""
    target.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    import tempfile  # not needed to verify

    handle, draft = tempfile.mkstemp(dir=target.parent)  # 0600
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump(receipt, file)
        Path(draft).replace(target)
    except OSError:
        Path(draft).unlink()
        raise


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        import shutil  # not needed to verify

        shutil.rmtree(path)
        return
    with contextlib.suppress(FileNotFoundError):
        path.unlink()


def _find_reason(receipt: Mapping[str, Any]) -> str:
    """Return why a receipt cannot be used."""
    if not receipt:
        return NO_RECEIPT
    version = receipt["schema"]
    if isinstance(version, int) and version != SCHEMA:
        return f"{RECEIPT} has version {version}, and this flambe-ansible supports version {SCHEMA}"
    whole = version == SCHEMA and _has(receipt, _RECEIPT) and all(_has(one, _ROLE) for one in receipt["roles"].values())
    return "" if whole else DAMAGED


def _has(document: Any, wanted: Mapping[str, type]) -> bool:
    """Return whether a part of a receipt has all its values, of the right kinds."""
    return isinstance(document, dict) and all(isinstance(document.get(name), kind) for name, kind in wanted.items())


def _compare(receipt: Mapping[str, Any], name: str, digest: str) -> str:
    """Return how a role differs from its part of a receipt, or ""."""
    known = receipt["roles"][name]
    if known["digest"] != digest:
        return CHANGED
    if receipt["python"] != sys.executable:
        return f"the Python of the host is {sys.executable}, and was {receipt['python']}"
    difference = _find_difference(known["facts"], observe(known["proof"], receipt["user"]))
    if not difference and receipt["boot_id"] != _read_boot_id():
        return "the host was rebooted" if any(known["proof"].get(kind) for kind in _LOST_AT_REBOOT) else ""
    return difference


def _find_difference(known: Mapping[str, str], found: Mapping[str, str]) -> str:
    """Describe the first difference between two sets of facts, in a few words; "" if there is none."""
    for name in {**known, **found}:
        before, now = known.get(name, "missing"), found.get(name, "missing")
        if before != now:
            if now == "missing":
                return f"{name} is missing"
            return f"{name} is new" if before == "missing" else _word(name, before, now)
    return ""


def _word(name: str, before: str, now: str) -> str:
    """Describe a changed fact; the state of a unit and the end of a check are shown, hashes are not."""
    if before == "ok":
        return f"{name}: {now}"
    return f"{name} changed" if " " in now else f"{name} is {now}"


def _expand(pattern: str, home: str) -> str:
    return home + pattern[1:] if pattern == "~" or pattern.startswith("~/") else pattern


def _describe_file(path: str, except_lines: str = "") -> str:
    """Describe a file by its mode, owner, link and content; a link's content is that of its target.

    Lines that begin with the text ``except_lines`` are left out. A large file has its size and time instead of its
    content.
    """
    try:
        info = os.lstat(path)
        link = str(Path(path).readlink()) if stat.S_ISLNK(info.st_mode) else ""
        is_file = stat.S_ISREG(Path(path).stat().st_mode)  # reading a pipe or a device may not end
        digest = _digest_file(path, except_lines) if is_file else "no file"
    except FileNotFoundError:
        return "missing"
    except OSError as error:
        return f"unreadable {error.errno}"
    return f"{_describe_access(info)} {link} {digest}"


def _describe_access(info: os.stat_result) -> str:
    return f"{info.st_mode:o} {info.st_uid}:{info.st_gid}"


def _digest_file(path: str, except_lines: str = "") -> str:
    """Digest the content of a file, without the lines that begin with a text."""
    digest = hashlib.sha256()
    with Path(path).open("rb", buffering=0) as file:
        info = os.fstat(file.fileno())
        if info.st_size > _LARGE:
            return f"{info.st_size} {info.st_mtime_ns}"
        if except_lines:
            lines = file.readall().split(b"\n")
            digest.update(b"\n".join(line for line in lines if not line.startswith(except_lines.encode())))
        else:
            for block in iter(lambda: file.read(_BLOCK), b""):
                digest.update(block)
    return digest.hexdigest()


def _describe_folder(path: str) -> str:
    """Describe a folder by the names, modes, owners, sizes and times of its files, and the modes and owners of folders.

    Byte code is left out: Python writes it.
    """
    if not Path(path).is_dir():
        return "missing"
    digest = hashlib.sha256()
    digest.update("".join(_walk(path)).encode("utf-8", "surrogateescape"))
    return f"files {digest.hexdigest()}"


def _walk(path: str) -> list[str]:
    """List the files below a folder; they are found relative to it, which is faster than by their whole paths."""
    lines: list[str] = []
    folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        _list_files(folder, path.rstrip("/"), lines)
    finally:
        os.close(folder)
    return lines


def _list_files(folder: int, path: str, lines: list[str]) -> None:
    lines.append(f"{path}\0{_describe_access(os.fstat(folder))}\n")
    with os.scandir(folder) as found:
        entries = sorted(found, key=lambda entry: entry.name)
    for entry in entries:
        name = entry.name
        if entry.is_dir(follow_symlinks=False):
            if name != "__pycache__":
                below = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=folder)
                try:
                    _list_files(below, f"{path}/{name}", lines)
                finally:
                    os.close(below)
        elif not name.endswith(".pyc"):
            info = entry.stat(follow_symlinks=False)
            lines.append(f"{path}/{name}\0{_describe_access(info)} {info.st_size} {info.st_mtime_ns}\n")


def _describe_units(units: Sequence[str]) -> dict[str, str]:
    """Describe units by their states and drop-ins; all with one call of systemctl, also those of other roles."""
    missing = [unit for unit in units if unit not in _unit_states]
    if missing:
        asked = _started_units if set(missing) <= set(_started_units) else missing
        process = _take(_show_units(asked))
        answer = process.communicate()[0] if process else ""
        blocks = [dict(line.partition("=")[::2] for line in one.splitlines()) for one in answer.split("\n\n")]
        _unit_states.update({**{unit: {} for unit in asked}, **{one["Id"]: one for one in blocks if "Id" in one}})
    facts = {f"{unit} {name}": _unit_states[unit].get(name, "missing") for unit in units for name in _UNIT_FACTS}
    drop_ins = [path for unit in units for path in _unit_states[unit].get(_DROP_INS, "").split()]
    return {**facts, **{path: _describe_file(path) for path in drop_ins}}


def _show_units(units: Sequence[str]) -> list[str]:
    return ["systemctl", "show", "--property", ",".join(("Id", *_UNIT_FACTS, _DROP_INS)), *units]


def _check(words: Sequence[str]) -> str:
    """Run a command, and describe its exit code."""
    process = _take(words)
    if process is None:
        return "missing"
    try:
        process.communicate(timeout=_CHECK_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        return f"no answer within {_CHECK_SECONDS} s"
    return f"exit code {process.returncode}" if process.returncode else "ok"


_started: dict[tuple[str, ...], subprocess.Popen[str] | None] = {}
_started_units: list[str] = []  # the units of the call of systemctl that was started
_unit_states: dict[str, Mapping[str, str]] = {}


def _start_commands(proofs: Sequence[Mapping[str, Any]]) -> None:
    """Start the commands of these roles, so that they run at once and while files are read."""
    _started_units[:] = [unit for proof in proofs for unit in proof.get("units") or ()]
    _unit_states.clear()
    commands = [words for proof in proofs for words in proof.get("checks") or ()]
    for words in [*([_show_units(_started_units)] if _started_units else []), *commands]:
        _started[tuple(words)] = _start(words)


def _take(words: Sequence[str]) -> subprocess.Popen[str] | None:
    """Return a command that was started, once; start it if it was not. None if it does not exist."""
    return _started.pop(tuple(words)) if tuple(words) in _started else _start(words)


def _start(words: Sequence[str]) -> subprocess.Popen[str] | None:
    try:
        return subprocess.Popen(
            words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
    except FileNotFoundError:
        return None


def _run(words: Sequence[str]) -> None:
    """Run a command, if there is one; its failure is ignored."""
    if words:
        _check(words)


def _read_boot_id() -> str:
    return Path(BOOT_ID).read_text(encoding="ascii").strip()
