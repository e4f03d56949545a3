"""One host of the lab: its folder, its first identity, and the systemd-nspawn that runs it."""

from __future__ import annotations

import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..errors import LabError
from . import cgroups, layer, network, state
from .image import USER, USER_ID
from .state import Settings
from .system import environment, has_systemd, run

_KEY_TYPES = ("ecdsa", "ed25519", "rsa")
_USER_DATA = "/var/lib/cloud/instance/user-data.sh"

_USER_DATA_UNIT = f"""[Unit]
Description=The instance's user-data script
After=network.target ssh.service
ConditionPathExists=!/var/lib/cloud/instance/sem/user-data

[Service]
Type=oneshot
ExecStartPre=/bin/mkdir -p /var/lib/cloud/instance/sem
ExecStartPre=/usr/bin/touch /var/lib/cloud/instance/sem/user-data
ExecStart={_USER_DATA}
StandardOutput=append:/var/log/cloud-init-output.log
StandardError=inherit
RemainAfterExit=yes

[Install]
WantedBy=multi-user.target
"""


@dataclass(frozen=True, kw_only=True)
class HostSpec:
    """What a host is made from.

    Attributes:
        id: Its instance id, such as ``i-0123456789abcdef0``.
        address: Its private address.
        public_keys: Lines for the login user's authorized_keys.
        user_data: The text of a ``#!`` script that runs once, or "".
    """

    id: str
    address: str
    public_keys: tuple[str, ...] = ()
    user_data: str = ""

    @property
    def hostname(self) -> str:
        """Its host name, as EC2 makes it from the address."""
        return "ip-" + self.address.replace(".", "-")


def folder(settings: Settings, host: str) -> Path:
    """Find a host's folder."""
    return settings.folder / "hosts" / host


def create(settings: Settings, spec: HostSpec) -> None:
    """Make a host's disk and identity; it does not run yet."""
    home = folder(settings, spec.id)
    upper = home / "upper"
    upper.mkdir(parents=True)
    for directory in (settings.folder, settings.folder / "hosts", home):
        directory.chmod(0o711 if directory == settings.folder else 0o700)
    upper.chmod(0o755)
    (upper / "etc/ssh").mkdir(parents=True)
    _make_host_keys(upper, spec)
    _write(upper / "etc/hostname", f"{spec.hostname}\n")
    _write(upper / "etc/machine-id", f"{secrets.token_hex(16)}\n")
    _write(upper / "etc/hosts", f"127.0.0.1 localhost\n{spec.address} {spec.hostname}\n::1 localhost ip6-localhost\n")
    _write(upper / "etc/resolv.conf", network.resolv_conf())
    _authorise(upper, spec.public_keys)
    if spec.user_data:
        _write(upper / _USER_DATA.lstrip("/"), spec.user_data, mode=0o700)
        _write(upper / "etc/systemd/system/user-data.service", _USER_DATA_UNIT)
        link = upper / "etc/systemd/system/multi-user.target.wants/user-data.service"
        link.parent.mkdir(parents=True)
        link.symlink_to("/etc/systemd/system/user-data.service")
    state.write_json(home / "spec.json", asdict(spec))


def start(settings: Settings, spec: HostSpec) -> None:
    """Boot a host that was created; returns at once, ``answers`` tells when it is up."""
    home = folder(settings, spec.id)
    (home / "ended").unlink(missing_ok=True)
    groups = [] if has_systemd() else cgroups.make(settings.name, spec.id)
    for name in ("pip", "uv", "uv-root"):
        (state.cache_dir() / name).mkdir(parents=True, exist_ok=True)
    state.cache_dir().chmod(0o700)
    for name in ("pip", "uv"):
        os.chown(state.cache_dir() / name, USER_ID, USER_ID)
    _write(home / "run.env", _assignments(settings, spec, groups))
    _write(home / "nspawn.args", "\n".join(_nspawn_arguments(settings, spec)) + "\n")
    command = ["unshare", "--mount", "--propagation", "slave", "--net"]
    command += ["sh", str(Path(__file__).with_name("supervisor.sh")), str(home)]
    if has_systemd():
        options = ["--property=Delegate=yes", "--property=KillMode=control-group", "--collect", "--quiet"]
        run("systemd-run", *options, f"--unit={unit_name(settings.name, spec.id)}", *command)
        return
    with (home / "console.log").open("ab") as log:
        subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment(), cwd="/", start_new_session=True
        )


def is_running(settings: Settings, host: str) -> bool:
    """Tell whether a host's processes are there."""
    if has_systemd():
        state_word = run("systemctl", "is-active", unit_name(settings.name, host), check=False).strip()
        return state_word in {"active", "activating", "deactivating", "reloading"}
    return cgroups.is_populated(settings.name, host)


def answers(spec: HostSpec, *, timeout: float = 0.5) -> bool:
    """Tell whether a host's sshd says its banner, within ``timeout`` seconds."""
    return answers_at(spec.address, timeout=timeout)


def answers_at(address: str, *, timeout: float = 0.5) -> bool:
    """Tell whether an sshd at an address says its banner, within ``timeout`` seconds."""
    try:
        with socket.create_connection((address, 22), timeout=timeout) as connection:
            return connection.recv(4) == b"SSH-"
    except OSError:
        return False


def has_ended(settings: Settings, host: str) -> bool:
    """Tell whether a host that was started has ended by itself."""
    return (folder(settings, host) / "ended").exists()


def forget_end(settings: Settings, host: str) -> None:
    """Forget that a host has ended, before it is started again."""
    (folder(settings, host) / "ended").unlink(missing_ok=True)


def note_up(settings: Settings, host: str) -> None:
    """Write down that a host has been up, so that its disk is somebody's."""
    (folder(settings, host) / "was-up").touch()


def was_up(settings: Settings, host: str) -> bool:
    """Tell whether a host has ever been up."""
    return (folder(settings, host) / "was-up").exists()


def read_spec(settings: Settings, host: str) -> HostSpec:
    """Read what a host was made from."""
    document = state.read_json(folder(settings, host) / "spec.json")
    if document is None:
        raise LabError(f"host {host} has no disk")
    document["public_keys"] = tuple(document["public_keys"])
    return HostSpec(**document)


def shut_down(settings: Settings, host: str, *, timeout: float = 20.0) -> None:
    """Stop a host in good order, then by force after ``timeout`` seconds; its disk stays."""
    leader = _nspawn_process(settings, host)
    deadline = time.monotonic() + timeout
    if leader is not None:
        os.kill(leader, signal.SIGTERM)  # systemd-nspawn hands it on as an orderly power-off
        while time.monotonic() < deadline and is_running(settings, host):
            time.sleep(0.05)
    kill(settings, host)


def reboot(settings: Settings, host: str) -> None:
    """Have a host's systemd reboot it."""
    supervisor = _nspawn_process(settings, host)
    init = None if supervisor is None else _init_below(supervisor)
    if init is not None:
        os.kill(init, signal.SIGINT)  # what Ctrl-Alt-Del is to PID 1


def kill(settings: Settings, host: str) -> None:
    """End all processes of a host at once; its disk stays."""
    if has_systemd():
        unit = unit_name(settings.name, host)
        run("systemctl", "kill", "--signal=KILL", unit, check=False)
        run("systemctl", "stop", unit, check=False)
    cgroups.kill(settings.name, host)


def destroy(settings: Settings, host: str) -> None:
    """End a host and free its disk."""
    kill(settings, host)
    home = folder(settings, host)
    for _attempt in range(50):  # the kernel lets go of the mount a moment after the last process
        shutil.rmtree(home, ignore_errors=True)
        if not home.exists():
            return
        time.sleep(0.1)
    shutil.rmtree(home)


def host_keys(settings: Settings, host: str) -> list[str]:
    """Read a host's public SSH keys, as ``ssh-ed25519 AAAA... root@name``."""
    files = sorted((folder(settings, host) / "upper/etc/ssh").glob("ssh_host_*_key.pub"))
    return [path.read_text().strip() for path in files]


def cpu_seconds(settings: Settings, host: str) -> float | None:
    """Read how many seconds of CPU a host has used since it booted; None where nobody counts."""
    if not has_systemd():
        return cgroups.cpu_seconds(settings.name, host)
    text = run("systemctl", "show", "--value", "--property=CPUUsageNSec", unit_name(settings.name, host), check=False)
    return int(text) / 1e9 if text.strip().isdigit() else None


def unit_name(lab: str, host: str) -> str:
    """Name the unit of a host on machines whose PID 1 is systemd."""
    return f"flambe-lab-{lab}-{host}.service"


def boot_host(settings: Settings, spec: HostSpec, *, timeout: float = 60.0) -> HostSpec:
    """Create a host, boot it, and wait until its sshd answers, at most ``timeout`` seconds.

    Raises:
        LabError: It does not answer; the message ends with its console's last lines.
    """
    create(settings, spec)
    start(settings, spec)
    deadline = time.monotonic() + timeout
    while not answers(spec):
        if time.monotonic() > deadline or (folder(settings, spec.id) / "ended").exists():
            raise LabError(f"host {spec.id} did not start: {console_tail(settings, spec.id)}")
        time.sleep(0.05)
    return spec


def destroy_host(settings: Settings, host: str) -> None:
    """End a host and free all it had."""
    destroy(settings, host)


def console_tail(settings: Settings, host: str, lines: int = 12) -> str:
    """Read the end of what a host printed on its console."""
    path = folder(settings, host) / "console.log"
    text = path.read_text(errors="replace") if path.exists() else ""
    return "\n".join(text.splitlines()[-lines:])


def _make_host_keys(upper: Path, spec: HostSpec) -> None:
    """Make the host's own SSH keys."""
    for kind in _KEY_TYPES:
        path = upper / f"etc/ssh/ssh_host_{kind}_key"
        bits = ["-b", "2048"] if kind == "rsa" else []
        run("ssh-keygen", "-q", "-t", kind, *bits, "-N", "", "-C", f"root@{spec.hostname}", "-f", path)


def _authorise(upper: Path, public_keys: tuple[str, ...]) -> None:
    """Let the owner of the key pair log in as the cloud's user."""
    home = upper / "home" / USER
    (home / ".ssh").mkdir(parents=True)
    _write(home / ".ssh/authorized_keys", "".join(f"{key}\n" for key in public_keys), mode=0o600)
    for path, mode in ((home, 0o755), (home / ".ssh", 0o700), (home / ".ssh/authorized_keys", 0o600)):
        path.chmod(mode)
        os.chown(path, USER_ID, USER_ID)


def _assignments(settings: Settings, spec: HostSpec, groups: list[Path]) -> str:
    """Write the supervisor's variables; none of the values has a quote."""
    values: dict[str, Any] = {
        "GROUPS_": " ".join(map(str, groups)),
        "MACHINE_NET": f"/proc/{os.getpid()}/ns/net",
        "LINK": f"fv{state.short(settings.name, spec.id)}",
        "BRIDGE": settings.bridge,
        "MTU": network.uplink_mtu(),
        "ADDRESS": spec.address,
        "PREFIX_LENGTH": settings.prefix_length,
        "GATEWAY": settings.gateway,
        "LOWER": f"{settings.folder / 'layer'}:{settings.image}",
    }
    return "".join(f"{key}='{value}'\n" for key, value in values.items())


def _nspawn_arguments(settings: Settings, spec: HostSpec) -> list[str]:
    """Write systemd-nspawn's arguments."""
    home = folder(settings, spec.id)
    machine_id = (home / "upper/etc/machine-id").read_text().strip()
    binds = [f"--bind={state.cache_dir() / name}:{layer.CACHE}/{name}" for name in ("pip", "uv", "uv-root")]
    binds += [f"--bind-ro={source}:{target}" for source, target in settings.python37]
    return [
        "--quiet", "--boot", "--register=no", "--keep-unit", "--settings=no", "--notify-ready=no",
        f"--directory={home / 'root'}", f"--machine={spec.hostname}", f"--hostname={spec.hostname}",
        f"--uuid={machine_id}", "--network-namespace-path=/proc/self/ns/net", "--resolv-conf=off", "--timezone=off",
        "--link-journal=no", "--console=read-only", *binds,
    ]  # fmt: skip


def _nspawn_process(settings: Settings, host: str) -> int | None:
    """Find the systemd-nspawn of a host."""
    wanted = f"--directory={folder(settings, host) / 'root'}".encode()
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            words = (entry / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if words[0].endswith(b"systemd-nspawn") and wanted in words:
            return int(entry.name)
    return None


def _init_below(process: int) -> int | None:
    """Find PID 1 of the namespace that a process made: its first descendant that is number 1 in there."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
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


def _write(path: Path, text: str, *, mode: int = 0o644) -> None:
    """Write one file of a host."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(mode)
