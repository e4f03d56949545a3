"""One host of the lab in systemd-nspawn: booting, stopping, rebooting, ending."""

from __future__ import annotations

import os
import re
import shutil
import signal
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from flambe_ansible.lab import cgroups, disk, layer, namespace, network, state
from flambe_ansible.lab.disk import HostSpec
from flambe_ansible.lab.image import USER_ID
from flambe_ansible.lab.state import Settings
from flambe_ansible.lab.system import has_systemd, run, start_detached


def start(settings: Settings, spec: HostSpec) -> None:
    """Boot a host; returns at once, see ``wait``."""
    home = disk.folder(settings, spec.id)
    disk.end_mark(settings, spec.id).unlink(missing_ok=True)
    groups = [] if has_systemd() else cgroups.make(settings.name, spec.id)
    for name, owner in (("pip", USER_ID), ("uv", USER_ID), ("uv-root", 0)):
        (state.cache_dir() / name).mkdir(parents=True, exist_ok=True)
        os.chown(state.cache_dir() / name, owner, owner)
    state.cache_dir().chmod(0o700)
    (home / "run.env").write_text(_assignments(settings, spec, groups))
    (home / "nspawn.args").write_text("\n".join(_nspawn_arguments(settings, spec)) + "\n")
    command = ["unshare", "--mount", "--propagation", "slave", "--net"]
    command += ["sh", str(Path(__file__).with_name("supervisor.sh")), str(home)]
    unit, properties = unit_name(settings.name, spec.id), ("Delegate=yes", "KillMode=control-group")
    start_detached(command, unit=unit, log=home / "console.log", properties=properties)


def is_running(settings: Settings, host: str) -> bool:
    """Return whether a host has processes."""
    if has_systemd():
        return cgroups.is_unit_populated(unit_name(settings.name, host))
    return cgroups.is_populated(settings.name, host)


def answers(settings: Settings, host: str, address: str, *, timeout: float = 0.5) -> bool:
    """Return whether a host's sshd sends its banner within ``timeout`` seconds, whatever its security groups allow."""
    process = namespace.find(settings, host)
    if process is None:
        return False
    try:
        with namespace.open_socket(process) as connection:
            connection.settimeout(timeout)
            connection.connect((address, 22))
            return connection.recv(4) == b"SSH-"
    except OSError:
        return False


def shut_down(settings: Settings, host: str, *, timeout: float = 20.0) -> None:
    """Shut a host down, and kill it after ``timeout`` seconds; its disk stays."""
    leader = _nspawn_process(settings, host)
    deadline = time.monotonic() + timeout
    if leader is not None:
        os.kill(leader, signal.SIGTERM)  # systemd-nspawn powers the host off
        while time.monotonic() < deadline and is_running(settings, host):
            time.sleep(0.05)
    kill(settings, host)


def reboot(settings: Settings, host: str) -> None:
    """Reboot a host through its systemd."""
    leader = _nspawn_process(settings, host)
    if leader is not None and (init := _init_below(leader)) is not None:
        os.kill(init, signal.SIGINT)  # PID 1 reboots, as after Ctrl-Alt-Del


def kill(settings: Settings, host: str) -> None:
    """Kill all processes of a host; its disk stays."""
    if has_systemd():
        unit = unit_name(settings.name, host)
        run("systemctl", "kill", "--signal=KILL", unit, check=False)
        run("systemctl", "stop", unit, check=False)
    cgroups.kill(settings.name, host)
    # The link's namespace outlives the processes while a closed socket still sends.
    run("ip", "link", "delete", network.link_name(settings.name, host), check=False)


def destroy(settings: Settings, host: str) -> None:
    """Kill a host and remove its disk."""
    kill(settings, host)
    home = disk.folder(settings, host)
    for _attempt in range(50):  # the kernel unmounts the disk a moment after the last process ended
        shutil.rmtree(home, ignore_errors=True)
        if not home.exists():
            return
        time.sleep(0.1)
    shutil.rmtree(home)


def cpu_seconds(settings: Settings, host: str) -> float | None:
    """Read how many seconds of CPU a host has used since it booted; None if it is not counted."""
    if not has_systemd():
        return cgroups.cpu_seconds(settings.name, host)
    text = run("systemctl", "show", "--value", "--property=CPUUsageNSec", unit_name(settings.name, host), check=False)
    return int(text) / 1e9 if text.strip().isdigit() else None


def unit_name(lab: str, host: str) -> str:
    """Return the unit of a host on machines with systemd."""
    return f"flambe-lab-{lab}-{host}.service"


def wait(settings: Settings, spec: HostSpec, *, timeout: float) -> None:
    """Wait until a host's sshd answers or the host has ended, for at most ``timeout`` seconds."""
    deadline = time.monotonic() + timeout
    while (
        not answers(settings, spec.id, spec.address)
        and not disk.end_mark(settings, spec.id).exists()
        and time.monotonic() < deadline
    ):
        time.sleep(0.05)


def _assignments(settings: Settings, spec: HostSpec, groups: list[Path]) -> str:
    """Return the supervisor's variables; no value contains a quote."""
    values: dict[str, Any] = {
        "GROUPS_": " ".join(map(str, groups)),
        "MACHINE_NET": f"/proc/{os.getpid()}/ns/net",
        "LINK": network.link_name(settings.name, spec.id),
        "BRIDGE": settings.bridge,
        "MTU": network.uplink_mtu(),
        "ADDRESS": spec.address,
        "MAC": disk.mac_address(spec.address),
        "PREFIX_LENGTH": 24,
        "GATEWAY": settings.gateway,
        "LOWER": ":".join(map(str, disk.lower_folders(settings, spec))),
    }
    return "".join(f"{key}='{value}'\n" for key, value in values.items())


def _nspawn_arguments(settings: Settings, spec: HostSpec) -> list[str]:
    """Return systemd-nspawn's arguments."""
    home = disk.folder(settings, spec.id)
    machine_id = disk.find_file(settings, spec.id, "etc/machine-id").read_text().strip()
    binds = [f"--bind={state.cache_dir() / name}:{layer.CACHE}/{name}" for name in ("pip", "uv", "uv-root")]
    binds += [f"--bind-ro={source}:{target}" for source, target in settings.python37]
    return [
        "--quiet", "--boot", "--register=no", "--keep-unit", "--settings=no", "--notify-ready=no",
        f"--directory={home / 'root'}", f"--machine={spec.hostname}", f"--hostname={spec.hostname}",
        f"--uuid={machine_id}", "--network-namespace-path=/proc/self/ns/net", "--resolv-conf=off", "--timezone=off",
        "--link-journal=no", "--console=read-only",
        "--capability=CAP_NET_ADMIN",  # for firewalls, in the host's own network
        "--system-call-filter=@keyring bpf",  # for containers in the host
        *binds,
    ]  # fmt: skip


def _nspawn_process(settings: Settings, host: str) -> int | None:
    """Find the systemd-nspawn of a host."""
    wanted = f"--directory={disk.folder(settings, host) / 'root'}".encode()
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            words = (entry / "cmdline").read_bytes().split(b"\0")
            if words[0].endswith(b"systemd-nspawn") and wanted in words:
                return int(entry.name)
    return None


def _init_below(process: int) -> int | None:
    """Find the first descendant of a process that is PID 1 of its namespace."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            stat = (entry / "stat").read_text().rpartition(")")[2].split()
            parents[int(entry.name)] = int(stat[1])
    level = [process]
    while level:
        level = [pid for pid, parent in parents.items() if parent in level]
        for pid in level:
            with suppress(OSError):
                numbers = re.search(r"^NSpid:\s+(.*)$", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
                if numbers and len(numbers[1].split()) > 1 and numbers[1].split()[-1] == "1":
                    return pid
    return None
