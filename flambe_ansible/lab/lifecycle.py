"""Creating and removing labs."""

from __future__ import annotations

import ipaddress
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from flambe_ansible.errors import LabUsageError
from flambe_ansible.files import lock
from flambe_ansible.lab import (
    cgroups,
    host,
    image,
    layer,
    network,
    pidfile,
    policies,
    process,
    python37,
    sources,
    state,
)
from flambe_ansible.lab.client import DEFAULT, LabInfo, get_info, words
from flambe_ansible.lab.quotas import parse as parse_quotas
from flambe_ansible.lab.state import Settings
from flambe_ansible.lab.system import caller, has_systemd, require_packages, require_root, run


def up(
    name: str = DEFAULT,
    *,
    python: Path | None = None,
    network_range: str | None = None,
    max_hosts: int | None = None,
    quotas: Sequence[str] = (),
    policy: Path | None = None,
    consistency: str | None = None,
    console_delay: float | None = None,
    say: Callable[[str], None] = lambda _message: None,
) -> LabInfo:
    """Start a lab, and create it if it does not exist.

    A lab that is up is unchanged. A lab whose daemon ended gets a new daemon and keeps its hosts. ``network_range``, a
    /24 (default: a free one), and ``max_hosts`` (default: 32) are for a new lab. ``python`` is the hosts' Python 3.7
    (default: one found on this machine), and ``say`` receives progress messages of one line.

    How the API behaves is also for a new lab: ``quotas`` are those for vCPUs, such as ``L-DB2E81BA=0`` (default: large
    ones), ``policy`` is the file of an IAM policy for its key (default: everything is allowed), ``consistency`` is
    ``strong`` (default) or ``eventual``, and ``console_delay`` is the number of seconds until the console of a new host
    shows its host keys (default: 0.5).

    Raises:
        LabUsageError: An argument is wrong, or the lab exists and behaves differently.
        LabError: The lab cannot be created or started.
    """
    behaviour = _read_behaviour(quotas, policy, consistency=consistency, console_delay=console_delay)
    folder = state.lab_dir(name)
    require_root(words("up", name))
    sources.this_release()
    require_packages()
    process.require_moto()
    with lock(state.root() / "locks" / f"{name}.lock"):
        settings = state.load(name)
        if settings is not None:
            _check_behaviour(settings, behaviour)
            if pidfile.find(folder) is not None:
                return get_info(name)
        found = python37.find(python)
        wanted = image.ensure(image.recipe(found.libraries if found else ()), say)
        if settings is None:
            settings = _make(name, str(wanted), network_range, max_hosts, behaviour)
        settings = replace(settings, port=process.choose_port(settings.port))
        if not _has_disks(settings):  # hosts and their images need the base that they were created on
            settings = replace(settings, image=str(wanted), python37=found.binds if found else ())
            layer.build(settings.layer, person=caller(), python=found)
        state.save(settings)
        say(f"starting the lab {name}" + ("" if found else " (this machine has no Python 3.7 for its hosts)"))
        process.start(settings)
        return get_info(name)


def _read_behaviour(
    quotas: Sequence[str], policy: Path | None, *, consistency: str | None, console_delay: float | None
) -> dict[str, Any]:
    """Return the settings of a lab that are given, as it stores them."""
    if policy is not None:
        policies.read_file(policy)
    given = {
        "quotas": parse_quotas(quotas) or None,
        "policy": policy.read_text() if policy else None,
        "consistency": consistency,
        "console_delay": console_delay,
    }
    return {key: value for key, value in given.items() if value is not None}


def down(name: str = DEFAULT, *, purge: bool = False) -> bool:
    """Remove a lab: its daemon, hosts, images, network and folder; return whether it existed.

    With ``purge``, the base images and the package cache are also removed, if no other lab is left.
    """
    folder = state.lab_dir(name)
    require_root(words("down", name))
    with lock(state.root() / "locks" / f"{name}.lock"):
        existed = folder.is_dir()
        process.stop(folder)
        # Without its settings, a lab can be removed by its name.
        settings = state.load(name) or Settings(name=name, network="0.0.0.0/24", port=0, image="")
        for path in sorted((folder / "hosts").glob("*")):
            host.destroy(settings, path.name)
        if not has_systemd():
            cgroups.remove_lab(name)
        network.down(settings)
        shutil.rmtree(folder, ignore_errors=True)
        if folder.exists():
            shutil.rmtree(folder)
    _clear(name, purge=purge)
    return existed


def _check_behaviour(settings: Settings, wanted: Mapping[str, Any]) -> None:
    """Refuse to change how the API of an existing lab behaves."""
    for key, value in wanted.items():
        if getattr(settings, key) != value:
            option = {"quotas": "--quota"}.get(key, f"--{key.replace('_', '-')}")
            hint = f"sudo flambe-ans {words('down', settings.name)}, then lab up with {option}"
            raise LabUsageError(f"the lab {settings.name} exists, and {option} is for a new lab", hint=hint)


def _make(
    name: str, image_folder: str, network_range: str | None, max_hosts: int | None, behaviour: Mapping[str, Any]
) -> Settings:
    """Choose a new lab's settings, and create its folder, key pair and access key."""
    owner = caller()
    with lock(state.root() / "locks" / ".ranges"):
        settings = Settings(
            name=name,
            network=_range(network_range),
            port=process.choose_port(),
            image=image_folder,
            max_hosts=32 if max_hosts is None else max_hosts,
            owner_uid=owner.uid,
            owner_gid=owner.gid,
            **behaviour,
        )
        for folder in (state.root(), state.root() / "labs", settings.folder):
            folder.mkdir(parents=True, exist_ok=True)
            folder.chmod(0o711)
        state.save(settings)
    process.make_secrets(settings)
    key = settings.folder / "key.pem"
    public = key.with_suffix(".pem.pub")
    for stale in (key, public):
        stale.unlink(missing_ok=True)
    run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", f"flambe-lab-{name}", "-f", key)
    for path in (key, public):
        os.chown(path, owner.uid, owner.gid)
    return settings


def _range(chosen: str | None) -> str:
    """Check the given address range, or choose one."""
    taken = network.used_ranges()
    if chosen is None:
        return network.choose_range(taken)
    try:
        wanted = ipaddress.ip_network(chosen)
    except ValueError as error:
        raise LabUsageError(
            f"{chosen} is not an address range: {error}", hint="give a /24 such as 10.99.0.0/24"
        ) from error
    if wanted.version != 4 or wanted.prefixlen != 24 or not wanted.is_private:
        raise LabUsageError(f"{chosen} is not a private /24", hint="give a /24 such as 10.99.0.0/24")
    for text in taken:
        other = ipaddress.ip_network(text, strict=False)
        if other.prefixlen and other.version == 4 and wanted.overlaps(other):
            raise LabUsageError(f"{chosen} overlaps {text}, which this machine uses")
    return str(wanted)


def _has_disks(settings: Settings) -> bool:
    """Return whether a lab has disks of hosts or images, which need its layer and base image."""
    return any(True for folder in (settings.folder / "hosts", settings.image_layers) for _ in folder.glob("*"))


def _clear(name: str, *, purge: bool) -> None:
    """After the last lab, remove what labs share: locks, and with ``purge`` base images and the package cache."""
    (state.root() / "locks" / f"{name}.lock").unlink(missing_ok=True)
    if state.all_labs():
        return
    if purge:
        with lock(state.images_dir() / ".lock"):
            shutil.rmtree(state.images_dir(), ignore_errors=True)
        shutil.rmtree(state.cache_dir(), ignore_errors=True)
    shutil.rmtree(state.root() / "locks", ignore_errors=True)
    for folder in (state.root() / "labs", state.root()):
        with suppress(OSError):  # it is not empty, or does not exist
            folder.rmdir()
