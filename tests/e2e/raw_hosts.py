"""Hosts without an API: booted with internal functions of the lab, on a separate network behind a bastion."""

from __future__ import annotations

import shlex
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from flambe_ansible.lab import LabInfo, disk, host, state
from flambe_ansible.lab.disk import HostSpec

USER = "flo"
BASTION_USER = "ubuntu"
# The benchmarking range (RFC 2544): this machine has no address in it, so only the bastion reaches the hosts there.
INNER = "198.18.57"
OTHER_PORT = 2222

# Runs once, as root, when a host behind the bastion boots: another user name, and sshd only on the inner network.
_BOOT = """#!/bin/sh
set -e
usermod --login {user} --home /home/{user} --move-home {old}
groupmod --new-name {user} {old}
sed -i 's/\\b{old}\\b/{user}/g' /etc/sudoers.d/* $(ls /opt/*/venv/flambe-runtime.json 2>/dev/null)
printf 'ListenAddress {address}\\nPort {port}\\n' > /etc/ssh/sshd_config.d/00-inner.conf
until ip -o -4 address | grep -qw {address}; do sleep 0.1; done
systemctl restart ssh
"""


@dataclass(frozen=True)
class RawHost:
    """A host.

    Attributes:
        id: Its name in the lab.
        outer: Its address on the lab's network; only the bastion's sshd listens there.
        inner: Its address behind the bastion.
        port: The port of its sshd.
        keys: Its SSH host keys.
    """

    id: str
    outer: str
    inner: str
    port: int
    keys: tuple[str, ...]


@dataclass(frozen=True)
class RawHosts:
    """A bastion, and the hosts behind it: the orchestrator first."""

    info: LabInfo
    bastion: RawHost
    members: tuple[RawHost, ...]

    @property
    def jump(self) -> str:
        """The proxy jump through the bastion."""
        return f"{BASTION_USER}@{self.bastion.outer}"

    def write(self, path: Path, *, name: str, more: str = "", wrong: Sequence[str] = ()) -> Path:
        """Write the file of the cluster.

        Args:
            path: The file.
            name: The cluster's name.
            more: Further lines.
            wrong: Inner addresses that are given the wrong host key: that of the bastion.
        """
        orchestrator, *factories = self.members
        lines = [
            "!SSHCluster",
            f"name: {name}",
            f"orchestrator_ip: {orchestrator.inner}",
            "factories_ips:",
            *(f"  - {one.inner}" + ("" if one.port == 22 else f":{one.port}") for one in factories),
            f"key: {self.info.key}",
            f"username: {USER}",
            f"proxy_jump: {self.jump}",
            "host_keys:",
            f"  {self.bastion.outer}: {self.bastion.keys[1]}",
        ]
        for one in self.members:
            keys = self.bastion.keys if one.inner in wrong else one.keys
            lines += [f"  {one.inner}:", *(f"    - {key}" for key in keys)]
        path.write_text("\n".join([*lines, more, ""]))
        return path


def boot(info: LabInfo, *, factories: int, layers: Sequence[str] = ()) -> RawHosts:
    """Boot a bastion and the hosts behind it; the last factory's sshd listens on another port.

    The hosts are removed with the lab. ``layers`` are those of the image of the hosts behind the bastion.
    """
    settings = state.load(info.name)
    assert settings is not None
    public = info.key.with_suffix(".pem.pub").read_text().strip()
    base = info.network.rsplit(".", 1)[0]

    def start(number: int, port: int, script: str = "") -> RawHost:
        outer, inner = f"{base}.{200 + number}", f"{INNER}.{10 + number}"
        text = script.format(address=inner, user=USER, old=BASTION_USER, port=port)
        own = tuple(layers) if number else ()
        spec = HostSpec(id=f"raw-{number}", address=outer, public_keys=(public,), user_data=text, layers=own)
        disk.create(settings, spec)
        host.start(settings, spec)
        _add_address(settings, spec.id, inner)
        return RawHost(spec.id, outer, inner, port, tuple(disk.host_keys(settings, spec.id)))

    bastion = start(0, 22)
    members = [start(1 + n, OTHER_PORT if n == factories else 22, _BOOT) for n in range(factories + 1)]
    hosts = RawHosts(info, bastion, tuple(members))
    for one in hosts.members:
        _wait(hosts, one)
    return hosts


def ssh_argv(hosts: RawHosts, one: RawHost, command: str) -> list[str]:
    """Return an ssh command for a host behind the bastion that uses nothing of this package."""
    options = ["-F", "none", "-i", str(hosts.info.key), "-o", "StrictHostKeyChecking=no", "-o", "BatchMode=yes"]
    options += ["-o", "UserKnownHostsFile=/dev/null", "-o", "ConnectTimeout=5", "-o", "LogLevel=ERROR"]
    jump = shlex.join(["ssh", *options, "-W", "%h:%p", hosts.jump])
    return ["ssh", *options, "-p", str(one.port), "-o", f"ProxyCommand={jump}", f"{USER}@{one.inner}", command]


def _wait(hosts: RawHosts, one: RawHost, *, timeout: float = 300.0) -> None:
    """Wait until a host accepts the login of its user."""
    deadline = time.monotonic() + timeout
    while True:
        done = subprocess.run(ssh_argv(hosts, one, "true"), capture_output=True, text=True, check=False)
        if done.returncode == 0:
            return
        assert time.monotonic() < deadline, f"{one.id} does not let in: {done.stderr}"
        time.sleep(0.5)


def _add_address(settings: state.Settings, name: str, address: str) -> None:
    """Add the address behind the bastion to a host; the host has no permission to do so."""
    deadline = time.monotonic() + 180
    while time.monotonic() < deadline:
        process = host._nspawn_process(settings, name)
        command = ["nsenter", "--net", "--target", str(process), "ip", "address", "add", f"{address}/24", "dev", "eth0"]
        if process and subprocess.run(command, capture_output=True, check=False).returncode == 0:
            return
        time.sleep(0.1)
    raise AssertionError(f"{name} got no second address")
