"""A stand-in for ssh and Ansible that answers from data, and counts: no process is started, and no network is used."""

from __future__ import annotations

import io
import json
import subprocess
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from flambe_ansible import SSHCluster
from flambe_ansible.cli.render.board import Board
from flambe_ansible.events import Status, StepEvent
from flambe_ansible.fleet import player
from flambe_ansible.fleet.inputs import list_roles
from flambe_ansible.fleet.reservation import Reservation
from flambe_ansible.inventory import as_json
from flambe_ansible.playbook_events import HostResult, RoleResult
from flambe_ansible.ssh import processes, waiting
from flambe_ansible.ssh.masters import Master
from flambe_ansible.ssh.processes import Processes
from tests.unit.keys import private_key

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHsxo1X4yYHCHZTrWWD5VdHEOzn8+tVAaHmU6J3A1q9F"
PROBE = """probe:python=3.11.2 /usr/bin/python3
probe:machine=x86_64
probe:sudo=yes
probe:rsync=yes
probe:os=debian
probe:os_version=12
probe:os_name=Debian 12
probe:home=/home/me
probe:addresses={address}
probe:cpus=2
probe:memory=4096000
probe:gpus={{"state": "none", "error": "", "gpus": [], "visible": 0, "cards": 0}}
probe:end=yes
"""
HOLDS = {"reason": "", "differs": {}, "roles": {}}
FRESH = {"reason": "no launch has completed", "differs": {}, "roles": {}}


@dataclass
class Simulation:
    """What the simulated hosts answered; the attributes count.

    Attributes:
        connections: Opened SSH connections, by known_hosts name.
        commands: Remote commands, by known_hosts name.
        sent: Bytes of commands and their input.
        tools: Local OpenSSH tools.
        reads: Reads of the cluster's known_hosts.
        inventories: The inventory of each playbook, in bytes.
        answer: The answer of the receipts.
        ray: The answer of Ray.
        early_ray: Its answer that comes with the verification.
    """

    connections: Counter[str] = field(default_factory=Counter)
    commands: Counter[str] = field(default_factory=Counter)
    sent: int = 0
    tools: Counter[str] = field(default_factory=Counter)
    reads: int = 0
    inventories: list[int] = field(default_factory=list)
    answer: Mapping[str, Any] = field(default_factory=lambda: FRESH)
    ray: Mapping[str, Any] = field(default_factory=dict)
    early_ray: Mapping[str, Any] = field(default_factory=dict)

    def clear(self) -> None:
        """Count from zero."""
        for counter in (self.connections, self.commands, self.tools, self.inventories):
            counter.clear()
        self.sent = self.reads = 0

    def install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Replace ssh and Ansible."""
        monkeypatch.setattr(waiting, "wait_for_banner", lambda *_args, **_options: None)
        monkeypatch.setattr(Master, "open", lambda master, **_options: self._open(master))
        monkeypatch.setattr(Master, "alive", property(lambda master: master._ready))
        monkeypatch.setattr(Processes, "run", lambda _self, argv, **options: self._run(argv, **options))
        monkeypatch.setattr(processes, "run_tool", self._run_tool)
        monkeypatch.setattr(player, "run_playbook", self._play)
        monkeypatch.setattr(Reservation, "_start", lambda *_args: (_Holder(), {"held": True}))
        read = Path.read_text
        monkeypatch.setattr(Path, "read_text", lambda path, *args, **options: self._read(read, path, *args, **options))

    def _open(self, master: Master) -> None:
        self.connections[master.target.alias] += 1
        master._ready = True

    def _run(self, argv: Sequence[str], **options: Any) -> subprocess.CompletedProcess[bytes]:
        *_, alias, command = argv
        data = options.get("data") or b""
        self.commands[alias] += 1
        self.sent += len(command) + len(data)
        text = ""
        if "sh -s" in command:
            text = PROBE.format(address=alias)
        if b"verify(" in data:
            text += json.dumps(self.answer) + "\n"
        if b"ray-nodes" in data:
            text += f"\nprobe:answer\n{json.dumps(self.early_ray)}\n"
        if "ray-nodes" in command:
            text = json.dumps(self.ray)
        return subprocess.CompletedProcess(list(argv), 0, text.encode(), b"")

    def _run_tool(self, argv: Sequence[str], *, host: str) -> subprocess.CompletedProcess[str]:
        self.tools[argv[0]] += 1
        return subprocess.CompletedProcess(list(argv), 0, f"hostname {host}\nuserknownhostsfile ~/none\n", "")

    def _play(self, _name: str, *, inventory: Mapping[str, Any], **_options: Any) -> dict[str, HostResult]:
        self.inventories.append(len(as_json(inventory)))
        groups = inventory["all"]["children"].values()
        roles = {name: RoleResult(status=Status.OK, seconds=0.1) for name in list_roles()}
        return {name: HostResult(host=name, roles=roles) for group in groups for name in group["hosts"]}

    def _read(self, read: Callable[..., str], path: Path, *args: Any, **options: Any) -> str:
        self.reads += path.name == "known_hosts"
        return read(path, *args, **options)


class _Holder(subprocess.Popen[bytes]):
    """The client of a reservation, which runs."""

    def __init__(self) -> None:
        super().__init__(["true"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)

    def poll(self) -> None:
        return None


def make_cluster(folder: Path, hosts: int, **more: Any) -> SSHCluster:
    """Make a cluster of this many hosts, with keys in its configuration."""
    folder.mkdir(parents=True, exist_ok=True)
    key = folder / "key"
    key.write_text(private_key())
    key.chmod(0o600)
    addresses = [f"10.{index >> 16 & 255}.{index >> 8 & 255}.{index & 255}" for index in range(1, hosts + 1)]
    values: dict[str, Any] = {
        "name": f"rack{hosts}",
        "orchestrator_ip": addresses[0],
        "factories_ips": addresses[1:],
        "key": str(key),
        "username": "me",
        "runtime": "none",
        "host_keys": dict.fromkeys(addresses, KEY),
    }
    return SSHCluster(**{**values, **more})


def make_board(hosts: int) -> Board:
    """Make the live table of a launch that has ended on nearly all hosts."""
    board = Board(cluster="rack", hosts=[f"rack_factory_{index}" for index in range(hosts)], clock=lambda: 0.0)
    for index in range(hosts - 3):
        for step in ("connect", "verify", "cluster_keys", "flambe", "ray_node", "ray"):
            board.add(StepEvent(host=f"rack_factory_{index}", step=step, status=Status.OK, seconds=1.0))
    return board


def draw_frames(hosts: int, frames: int) -> None:
    """Draw frames of such a table."""
    board = make_board(hosts)
    console = Console(file=io.StringIO(), width=80, height=40)
    for _ in range(frames):
        console.print(board.render(40))
