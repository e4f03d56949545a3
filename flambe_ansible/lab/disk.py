"""A host's disk: its folder, its identity, and the layers below it."""

from __future__ import annotations

import os
import secrets
import shutil
import stat
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from flambe_ansible.errors import LabError
from flambe_ansible.files import write_json
from flambe_ansible.lab import network, state
from flambe_ansible.lab.image import USER, USER_ID, write_file
from flambe_ansible.lab.state import Settings
from flambe_ansible.lab.system import run

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
    """What a host is created from."""

    id: str
    address: str
    public_keys: tuple[str, ...] = ()
    user_data: str = ""  # the text of a ``#!`` script that runs once
    layers: tuple[str, ...] = ()  # of its image, uppermost first

    @property
    def hostname(self) -> str:
        """Its host name, derived from the address as on EC2."""
        return "ip-" + self.address.replace(".", "-")


def folder(settings: Settings, host: str) -> Path:
    """Return a host's folder."""
    return settings.folder / "hosts" / host


def mac_address(address: str) -> str:
    """Derive a host's link address from its IP address: neighbours' caches stay valid when another host gets it."""
    return ":".join(["02", "fb", *(f"{int(part):02x}" for part in address.split("."))])


def create(settings: Settings, spec: HostSpec) -> None:
    """Create a host's disk and identity, without starting it."""
    home = folder(settings, spec.id)
    upper = home / "upper"
    (upper / "etc/ssh").mkdir(parents=True)
    for directory, mode in ((settings.folder, 0o711), (home.parent, 0o700), (home, 0o700), (upper, 0o755)):
        directory.chmod(mode)
    _make_host_keys(upper, spec)
    write_file(upper / "etc/hostname", f"{spec.hostname}\n")
    write_file(upper / "etc/machine-id", f"{secrets.token_hex(16)}\n")
    write_file(
        upper / "etc/hosts", f"127.0.0.1 localhost\n{spec.address} {spec.hostname}\n::1 localhost ip6-localhost\n"
    )
    write_file(upper / "etc/resolv.conf", network.resolv_conf())
    _authorize(upper, spec.public_keys)
    _write_user_data(upper, spec)
    write_json(home / "spec.json", asdict(spec))


def read_spec(settings: Settings, host: str) -> HostSpec:
    """Read what a host was created from."""
    document = state.read_json(folder(settings, host) / "spec.json")
    if document is None:
        raise LabError(f"host {host} has no disk")
    document |= {key: tuple(document.get(key, ())) for key in ("public_keys", "layers")}
    return HostSpec(**document)


def host_keys(settings: Settings, host: str) -> list[str]:
    """Read a host's public SSH keys, as ``ssh-ed25519 AAAA... root@name``."""
    files = [find_file(settings, host, f"etc/ssh/ssh_host_{kind}_key.pub") for kind in _KEY_TYPES]
    return [path.read_text().strip() for path in files if path.exists()]


def find_file(settings: Settings, host: str, name: str) -> Path:
    """Find a file of a host: on its own disk, or in a layer of its image."""
    layers = (settings.image_layers / layer for layer in read_spec(settings, host).layers)
    paths = [root / name for root in (folder(settings, host) / "upper", *layers)]
    return next((path for path in paths if path.exists()), paths[0])


def lower_folders(settings: Settings, spec: HostSpec) -> list[Path]:
    """List the folders below a host's own, uppermost first."""
    return [*(settings.image_layers / name for name in spec.layers), settings.layer, Path(settings.image)]


def seal(settings: Settings, host: str, name: str) -> None:
    """Turn the disk of a host that is stopped into a layer, and give the host an empty disk on top of it.

    The disk is renamed, not copied. If a call is interrupted, the next one completes it.
    """
    home, target = folder(settings, host), settings.image_layers / name
    upper = home / "upper"
    if not target.exists():
        spec = read_spec(settings, host)
        if name not in spec.layers:
            write_json(home / "spec.json", asdict(replace(spec, layers=(name, *spec.layers))))
        target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        upper.rename(target)
    if not upper.exists():
        shutil.rmtree(home / "work", ignore_errors=True)
        upper.mkdir()
        upper.chmod(stat.S_IMODE(target.stat().st_mode))


def copy(settings: Settings, host: str, name: str) -> None:
    """Copy the disk of a running host into a layer; files that the host removes meanwhile may be missing."""
    home, target = folder(settings, host), settings.image_layers / name
    if target.exists():
        return
    draft = home / "image.new"
    shutil.rmtree(draft, ignore_errors=True)
    options = ["-aHAX", "--numeric-ids", "--one-file-system"]
    try:
        # 24: files vanished.
        run("sh", "-c", 'rsync "$@" || [ $? = 24 ]', "rsync", *options, f"{home / 'upper'}/", f"{draft}/")
        target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        draft.rename(target)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def console_tail(settings: Settings, host: str, lines: int = 12) -> str:
    """Read the last lines of a host's console."""
    path = folder(settings, host) / "console.log"
    text = path.read_text(errors="replace") if path.exists() else ""
    return "\n".join(text.splitlines()[-lines:])


def end_mark(settings: Settings, host: str) -> Path:
    """Return the file that exists if a started host has ended by itself."""
    return folder(settings, host) / "ended"


def up_mark(settings: Settings, host: str) -> Path:
    """Return the file that exists if a host has ever been up: its disk may contain data since then."""
    return folder(settings, host) / "was-up"


def restart_mark(settings: Settings, host: str) -> Path:
    """Return the file that exists if a host was started again after it was stopped."""
    return folder(settings, host) / "restarted"


def _write_user_data(upper: Path, spec: HostSpec) -> None:
    """Write the user-data script and its unit, and hide those of the instance that the image was made of."""
    script, unit = upper / _USER_DATA.lstrip("/"), upper / "etc/systemd/system/user-data.service"
    if spec.layers:
        script.parent.mkdir(parents=True)
        os.setxattr(script.parent, "trusted.overlay.opaque", b"y")
    if spec.user_data:
        write_file(script, spec.user_data, mode=0o700)
        write_file(unit, _USER_DATA_UNIT)
        link = unit.parent / "multi-user.target.wants" / unit.name
        link.parent.mkdir(parents=True)
        link.symlink_to(f"/etc/systemd/system/{unit.name}")
    elif spec.layers:
        unit.parent.mkdir(parents=True)
        unit.symlink_to("/dev/null")


def _make_host_keys(upper: Path, spec: HostSpec) -> None:
    """Create the host's SSH keys."""
    for kind in _KEY_TYPES:
        path = upper / f"etc/ssh/ssh_host_{kind}_key"
        bits = ["-b", "2048"] if kind == "rsa" else []
        run("ssh-keygen", "-q", "-t", kind, *bits, "-N", "", "-C", f"root@{spec.hostname}", "-f", path)


def _authorize(upper: Path, public_keys: tuple[str, ...]) -> None:
    """Authorize the key pair for logins as the default user."""
    home = upper / "home" / USER
    write_file(home / ".ssh/authorized_keys", "".join(f"{key}\n" for key in public_keys))
    for path, mode in ((home, 0o755), (home / ".ssh", 0o700), (home / ".ssh/authorized_keys", 0o600)):
        path.chmod(mode)
        os.chown(path, USER_ID, USER_ID)
