"""What labs change on the machine itself: forwarding, and how many inotify instances root may have.

All is as before when the last lab has gone.
"""

from __future__ import annotations

from pathlib import Path

from flambe_ansible.files import lock, write_json
from flambe_ansible.lab import firewall, state
from flambe_ansible.lab.system import run

_FORWARDING = "net.ipv4.ip_forward"
_INOTIFY = "fs.inotify.max_user_instances"
_INOTIFY_NEEDED = 8192  # a host's services take some ten of them, and the usual 128 would do for ten hosts
_CLOSED = "flambe-lab:forwarding"


def borrow(lab: str) -> None:
    """Let the machine forward packets, remembering what it did before; labs are counted."""
    with lock(_lock_file()):
        path = _record()
        known = state.read_json(path)
        if known is None:
            known = {"forwarding": _read(_FORWARDING), "tables": firewall.list_tables(), "labs": []}
        known.setdefault("inotify", _read(_INOTIFY))
        known["labs"] = sorted({*known["labs"], lab})
        write_json(path, known)
        if known["forwarding"] != "1":
            if not firewall.list_rules(_CLOSED):  # the machine still forwards nothing but the labs' packets
                firewall.add_rule("filter", "FORWARD", ["-j", "DROP"], _CLOSED, last=True)
            run("sysctl", "-q", "-w", f"{_FORWARDING}=1")
        if int(known["inotify"]) < _INOTIFY_NEEDED:
            run("sysctl", "-q", "-w", f"{_INOTIFY}={_INOTIFY_NEEDED}", check=False)


def give_back(lab: str) -> None:
    """Bring the machine back to what it was, when this was the last lab."""
    with lock(_lock_file()):
        path = _record()
        known = state.read_json(path)
        if known is None:
            return
        known["labs"] = [name for name in known["labs"] if name != lab]
        if known["labs"]:
            write_json(path, known)
            return
        if known["forwarding"] != "1":
            run("sysctl", "-q", "-w", f"{_FORWARDING}={known['forwarding']}")
        if int(known.get("inotify", _INOTIFY_NEEDED)) < _INOTIFY_NEEDED:
            run("sysctl", "-q", "-w", f"{_INOTIFY}={known['inotify']}", check=False)
        firewall.remove_rules(_CLOSED)
        firewall.drop_empty_tables(known["tables"])
        path.unlink()


def _read(name: str) -> str:
    """Read a setting of the kernel."""
    return run("sysctl", "-n", name).strip()


def _record() -> Path:
    """Find the file that remembers."""
    return state.root() / "machine.json"


def _lock_file() -> Path:
    """Find its lock."""
    return state.root() / "locks" / ".machine"
