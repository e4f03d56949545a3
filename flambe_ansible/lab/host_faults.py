"""Faults of hosts: files on the disks of new hosts, and acts on running ones."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from flambe_ansible.lab import disk, network
from flambe_ansible.lab.cloud import ZONE
from flambe_ansible.lab.disk import HostSpec
from flambe_ansible.lab.fault_kinds import Fault
from flambe_ansible.lab.faults import Faults
from flambe_ansible.lab.image import USER, write_file
from flambe_ansible.lab.state import Settings
from flambe_ansible.lab.system import run

_SLOW_MARK = "slow"
_DISK_FILE = "disk.size"  # MB, read by supervisor.sh
_KEPT = "/var/lib/flambe-lab"
# dpkg and apt use the locks of fcntl: https://manpages.debian.org/bookworm/dpkg/dpkg.1.en.html
_HOLD_LOCKS = """import fcntl, pathlib, time
files = []
for name in ("/var/lib/dpkg/lock-frontend", "/var/lib/dpkg/lock", "/var/lib/apt/lists/lock"):
    pathlib.Path(name).parent.mkdir(parents=True, exist_ok=True)
    files.append(open(name, "w"))
    fcntl.lockf(files[-1], fcntl.LOCK_EX)
time.sleep({seconds})
"""


class HostFaults:
    """The faults of the hosts of one lab."""

    def __init__(self, settings: Settings, faults: Faults) -> None:
        self._settings = settings
        self._faults = faults
        self._seen: dict[tuple[int, str], float] = {}  # by fault and instance: since when the fault waits for it
        self._hit: set[tuple[int, str]] = set()
        self._cuts: dict[str, tuple[int, float]] = {}  # by instance: the fault, and until when its network is down
        self._down: set[str] = set()

    def prepare(self, instance: Any, spec: HostSpec) -> None:
        """Write the files of the faults that a new host gets on its disk."""
        home = disk.folder(self._settings, spec.id)
        for kind, write in _WRITERS.items():
            fault = self._take(kind, instance)
            if fault:
                write(home, fault)

    def find_due(self, running: Sequence[Any]) -> Iterator[tuple[str, Any]]:
        """Yield the faults that act on running hosts now, as a kind and an instance, and count that they did."""
        now = time.monotonic()
        for fault in self._faults.list_running():
            for instance in running:
                key = (fault.id, instance.id)
                if key in self._hit or now < self._seen.setdefault(key, now) + fault.delay:
                    continue
                if fault.kind == "spot-interruption" and instance.lifecycle != "spot":
                    continue
                if not self._take(fault.kind, instance):
                    continue
                self._hit.add(key)
                if fault.kind == "network-cut":
                    self._cuts[instance.id] = fault.id, now + (fault.seconds or float("inf"))
                else:
                    yield fault.kind, instance

    def cut_networks(self, running: Sequence[Any]) -> None:
        """Take the links of hosts down and up; a link is up again when its fault has ended or was cleared."""
        now, known = time.monotonic(), {fault.id for fault in self._faults.list_running()}
        self._cuts = {
            one: (fault, until)
            for one, (fault, until) in self._cuts.items()
            if until > now and (fault in known or until < float("inf"))
        }
        ids = {instance.id for instance in running}
        for one in self._cuts.keys() - self._down:
            self._set_link(one, "down")
        for one in (self._down - self._cuts.keys()) & ids:
            self._set_link(one, "up")
        self._down = set(self._cuts)

    def _take(self, kind: str, instance: Any) -> Fault | None:
        names = [tag["value"] for tag in instance.get_tags() if tag["key"] == "Name"]
        for host in (instance.id, *names):
            fault = self._faults.take(kind, type=instance.instance_type, zone=ZONE, host=host)
            if fault:
                return fault
        return None

    def _set_link(self, host: str, state: str) -> None:
        run("ip", "link", "set", network.link_name(self._settings.name, host), state, check=False)


def is_slow(settings: Settings, host: str) -> bool:
    """Return whether the sshd of a host starts late, so that the instance runs without it."""
    return (disk.folder(settings, host) / _SLOW_MARK).exists()


def _delay_sshd(home: Path, fault: Fault) -> None:
    text = f"[Service]\nTimeoutStartSec=infinity\nExecStartPre=/bin/sleep {fault.seconds:g}\n"
    write_file(home / "upper/etc/systemd/system/ssh.service.d/50-fault.conf", text)
    (home / _SLOW_MARK).touch()


def _delay_key(home: Path, fault: Fault) -> None:
    keys, kept = home / f"upper/home/{USER}/.ssh/authorized_keys", home / f"upper{_KEPT}/authorized_keys"
    kept.parent.mkdir(parents=True)
    keys.rename(kept)
    command = f"sleep {fault.seconds:g}; mv {_KEPT}/authorized_keys /home/{USER}/.ssh/authorized_keys"
    _write_unit(home, "fault-key", f'/bin/sh -c "{command}"', condition=f"{_KEPT}/authorized_keys")


def _hold_apt(home: Path, fault: Fault) -> None:
    write_file(home / f"upper{_KEPT}/hold_locks.py", _HOLD_LOCKS.format(seconds=fault.seconds))
    _write_unit(home, "fault-apt", f"/usr/bin/python3 {_KEPT}/hold_locks.py")


def _change_host_key(home: Path, _fault: Fault) -> None:
    key = home / "upper/etc/ssh/ssh_fault_key"
    run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "fault", "-f", key)
    write_file(home / "upper/etc/ssh/sshd_config.d/00-fault.conf", "HostKey /etc/ssh/ssh_fault_key\n")


def _limit_disk(home: Path, fault: Fault) -> None:
    (home / _DISK_FILE).write_text(f"{fault.count}\n")


def _write_unit(home: Path, name: str, command: str, *, condition: str = "") -> None:
    """Write a unit that runs at each boot; it does not delay the others."""
    exists = f"ConditionPathExists={condition}\n" if condition else ""
    unit = home / f"upper/etc/systemd/system/{name}.service"
    text = f"[Unit]\nDescription=A fault of the lab\nDefaultDependencies=no\nAfter=local-fs.target\n{exists}"
    write_file(unit, f"{text}[Service]\nExecStart={command}\n[Install]\nWantedBy=basic.target\n")
    link = unit.parent / "basic.target.wants" / unit.name
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(f"/etc/systemd/system/{unit.name}")


_WRITERS: Mapping[str, Callable[[Path, Fault], None]] = {
    "slow-boot": _delay_sshd,
    "sshd-before-key": _delay_key,
    "apt-lock": _hold_apt,
    "wrong-host-key": _change_host_key,
    "disk-full": _limit_disk,
}
