"""The base image of all hosts: a small system of the machine's release, built once by debootstrap."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from flambe_ansible.files import lock, write_json
from flambe_ansible.lab import sources, state
from flambe_ansible.lab.system import run

USER = "ubuntu"
USER_ID = 1000

PACKAGES = (
    "ca-certificates", "curl", "dbus", "git", "iproute2", "iputils-ping", "less", "libpam-systemd", "netbase",
    "nftables", "openssh-server", "procps", "psmisc", "python3", "rsync", "sudo", "systemd", "systemd-sysv",
)  # fmt: skip

# Services that a host does not need, and a mount that would hide a part of its disk.
MASKED_UNITS = (
    "apt-daily.timer", "apt-daily-upgrade.timer", "console-getty.service", "dpkg-db-backup.timer", "e2scrub_all.timer",
    "fstrim.timer", "getty@.service", "man-db.timer", "motd-news.timer", "ssh.socket", "systemd-firstboot.service",
    "systemd-networkd.service", "systemd-networkd.socket", "systemd-networkd-wait-online.service",
    "systemd-resolved.service", "systemd-timesyncd.service", "tmp.mount",
)  # fmt: skip


@dataclass(frozen=True)
class Recipe:
    """What an image is built from; equal recipes share one image."""

    distribution: str
    codename: str
    architecture: str
    mirror: str
    packages: tuple[str, ...]
    version: int = 1  # raised when images are built differently

    @property
    def digest(self) -> str:
        """The name of the image's folder."""
        text = json.dumps(asdict(self), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def recipe(libraries: Iterable[str] = ()) -> Recipe:
    """Return the recipe for this machine, with additional packages for the shared libraries of its Python 3.7."""
    release = sources.this_release()
    mirror = sources.main_source(sources.machine_sources(release), release).uri
    packages = tuple(sorted({*PACKAGES, *libraries}))
    return Recipe(release.distribution, release.codename, "amd64", mirror, packages)


def ensure(wanted: Recipe, say: Callable[[str], None] = lambda _message: None) -> Path:
    """Return the folder of a recipe's image, and build it if necessary: about a minute, and 400 MB of disk.

    Concurrent calls build it once. A build that is killed leaves no image.
    """
    folder = state.images_dir()
    folder.mkdir(parents=True, exist_ok=True)
    image = folder / wanted.digest
    with lock(folder / ".lock"):
        for leftover in folder.glob(".building-*"):
            shutil.rmtree(leftover)
        if image.is_dir():
            return image
        say(f"building the hosts' image: {wanted.distribution} {wanted.codename} (once; a minute or two)")
        draft = folder / f".building-{wanted.digest}-{os.getpid()}"
        try:
            _debootstrap(wanted, draft)
            _finish(draft)
            write_json(folder / f"{wanted.digest}.json", asdict(wanted))
            draft.rename(image)
        finally:
            shutil.rmtree(draft, ignore_errors=True)
    return image


def _debootstrap(wanted: Recipe, draft: Path) -> None:
    """Run debootstrap in namespaces, so that its mounts and processes end with it."""
    variant = ["--variant=minbase", f"--arch={wanted.architecture}", f"--include={','.join(wanted.packages)}"]
    if wanted.distribution == "ubuntu":
        variant.append("--components=main,universe")
    private = ["unshare", "--mount", "--propagation", "private", "--pid", "--fork", "--kill-child", "--mount-proc"]
    run(*private, "debootstrap", *variant, wanted.codename, draft, wanted.mirror)


def _finish(draft: Path) -> None:
    """Turn a new system into a cloud image: without identity, with the user ``ubuntu``, without unneeded services."""
    for stale in (*(draft / "etc/ssh").glob("ssh_host_*"), draft / "etc/hostname", draft / "etc/resolv.conf"):
        stale.unlink(missing_ok=True)
    (draft / "etc/machine-id").write_text("uninitialized\n")
    (draft / "var/lib/dbus/machine-id").unlink(missing_ok=True)
    shutil.rmtree(draft / "var/cache/apt/archives")
    (draft / "var/cache/apt/archives/partial").mkdir(parents=True)
    # "*" is a user without a password; "!" would be a locked user, which sshd refuses.
    _chroot(
        draft, "useradd", "--create-home", "--shell=/bin/bash", f"--uid={USER_ID}", "--user-group", "--password=*", USER
    )
    _chroot(draft, "usermod", "--append", "--groups=adm,sudo,systemd-journal", USER)
    write_file(draft / "etc/sudoers.d/90-cloud-init-users", f"{USER} ALL=(ALL) NOPASSWD:ALL\n", mode=0o440)
    for unit in MASKED_UNITS:
        link = draft / "etc/systemd/system" / unit
        link.unlink(missing_ok=True)
        link.symlink_to("/dev/null")
    _chroot(draft, "systemctl", "set-default", "multi-user.target")
    _chroot(draft, "systemctl", "enable", "ssh.service")


def write_file(path: Path, text: str, *, mode: int = 0o644) -> None:
    """Write a file of a host, and its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(mode)


def _chroot(draft: Path, *argv: str) -> None:
    """Run a command inside the image."""
    run("chroot", draft, *argv)
