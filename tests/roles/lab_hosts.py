"""Hosts of a lab, and playbooks run on them only with ansible-playbook."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3

from flambe_ansible.lab import LabInfo
from flambe_ansible.paths import collections_root

BOOT_SECONDS = 300
USER = "ubuntu"


@dataclass(frozen=True)
class BareHost:
    """A host without any configuration."""

    instance_id: str
    address: str
    host_key: str


@dataclass(frozen=True)
class Run:
    """The result of a playbook.

    ``changed`` and ``failed`` count tasks by host; ``results`` has each task's result by (task, host).
    """

    returncode: int
    changed: Mapping[str, int]
    failed: Mapping[str, int]
    results: Mapping[tuple[str, str], Mapping[str, Any]]
    output: str
    seconds: float

    def assert_ok(self) -> Run:
        assert self.returncode == 0, self.output[-6000:]
        return self

    def assert_unchanged(self) -> Run:
        self.assert_ok()
        changed = {key: result.get("msg") for key, result in self.results.items() if result.get("changed")}
        assert not changed, changed
        return self


@dataclass
class Fleet:
    """Hosts of one lab, created and terminated by a test session."""

    info: LabInfo
    hosts: list[BareHost] = field(default_factory=list)

    @property
    def ec2(self) -> Any:
        return boto3.client(
            "ec2",
            region_name=self.info.region,
            endpoint_url=self.info.endpoint,
            aws_access_key_id=self.info.access_key,
            aws_secret_access_key=self.info.secret_key,
        )

    def launch(self, count: int) -> list[BareHost]:
        """Launch hosts, and wait until each prints its host key and accepts connections."""
        ec2 = self.ec2
        answer = ec2.run_instances(
            ImageId=self.info.image_id,
            InstanceType="t3.medium",
            MinCount=count,
            MaxCount=count,
            KeyName=self.info.key_name,
            SubnetId=self.info.subnet_id,
            SecurityGroupIds=[self.info.security_group],
        )
        ids = [instance["InstanceId"] for instance in answer["Instances"]]
        found = [self._await(ec2, instance) for instance in ids]
        self.hosts += found
        return found

    def _await(self, ec2: Any, instance: str) -> BareHost:
        end = time.monotonic() + BOOT_SECONDS
        while time.monotonic() < end:
            seen = ec2.describe_instances(InstanceIds=[instance])["Reservations"][0]["Instances"][0]
            console = ec2.get_console_output(InstanceId=instance, Latest=True).get("Output", "")
            key = re.search(r"^ssh-ed25519 \S+", console, re.MULTILINE)
            if seen["State"]["Name"] == "running" and key:
                return BareHost(instance, seen["PrivateIpAddress"], key[0])
            time.sleep(0.3)
        raise AssertionError(
            f"{instance} did not come up: {seen['State']}, {seen.get('StateReason')}\n{console[-2000:]}"
        )

    def terminate(self, hosts: Sequence[BareHost]) -> None:
        """Terminate some hosts, also if they are terminated already."""
        if hosts:
            self.ec2.terminate_instances(InstanceIds=[host.instance_id for host in hosts])


@dataclass
class Site:
    """An inventory of some hosts, and functions that use it.

    ``program`` is an ansible-playbook, ``collections`` where it looks for collections, and ``cwd`` where it runs; None
    is the folder.
    """

    folder: Path
    key: Path
    groups: Mapping[str, Sequence[tuple[str, BareHost]]]
    user: str = USER
    extra: Sequence[str] = ()
    home: Path | None = None  # of the user who runs ansible-playbook; None for this user's
    program: Sequence[str] = (sys.executable, "-m", "ansible", "playbook")
    collections: Path = field(default_factory=collections_root)
    cwd: Path | None = None

    def __post_init__(self) -> None:
        lines = []
        for group, members in self.groups.items():
            lines += [f"[{group}]", *(f"{name} ansible_host={host.address}" for name, host in members), ""]
        known = self.folder / "known_hosts"
        # Short: the path of a control socket has 108 bytes.
        options = f"-o UserKnownHostsFile={known} -o IdentitiesOnly=yes -o ControlMaster=auto -o ControlPersist=60s"
        lines += ["[all:vars]", f"ansible_user={self.user}", f"ansible_ssh_private_key_file={self.key}"]
        lines += [f"ansible_ssh_common_args={options}", *self.extra]
        (self.folder / "hosts.ini").write_text("\n".join(lines) + "\n")
        hosts = {host for members in self.groups.values() for _, host in members}
        known.write_text("".join(f"{host.address} {host.host_key}\n" for host in hosts))

    def play(self, playbook: Path | str, *arguments: str, **variables: Any) -> Run:
        """Run ansible-playbook without flambe-ans, on a file or a playbook of a collection."""
        command = [*self.program, "-i", str(self.folder / "hosts.ini"), str(playbook)]
        command += ["-e", json.dumps(variables), *arguments]
        env = {
            "PATH": "/usr/local/bin:/usr/bin:/bin",
            "HOME": str(self.home or os.environ["HOME"]),
            "LANG": "C.UTF-8",
            "ANSIBLE_COLLECTIONS_PATH": str(self.collections),
            "ANSIBLE_STDOUT_CALLBACK": "ansible.builtin.default",
            "ANSIBLE_CALLBACK_RESULT_FORMAT": "json",
            "ANSIBLE_PIPELINING": "1",
            "ANSIBLE_CALLBACKS_ENABLED": "record",
            "ANSIBLE_CALLBACK_PLUGINS": str(Path(__file__).parent / "callbacks"),
            "RECORD_FILE": str(self.folder / "record.json"),
            "ANSIBLE_PYTHON_INTERPRETER": "/usr/bin/python3",
        }
        record_file = self.folder / "record.json"
        record_file.unlink(missing_ok=True)
        started = time.monotonic()
        done = subprocess.run(
            command, env=env, cwd=self.cwd or self.folder, capture_output=True, text=True, timeout=850, check=False
        )
        seconds = time.monotonic() - started
        nothing: dict[str, Any] = {"results": [], "changed": {}, "failed": {}}  # no play was started
        record = json.loads(record_file.read_text()) if record_file.exists() else nothing
        results = {(task, host): result for task, host, result in record["results"]}
        return Run(done.returncode, record["changed"], record["failed"], results, done.stdout + done.stderr, seconds)

    def ssh(self, name: str, command: str, *, check: bool = True) -> str:
        """Run a command on one host and return its output. The commands share a connection: a login costs more."""
        host = next(host for members in self.groups.values() for found, host in members if found == name)
        options = {
            "UserKnownHostsFile": self.folder / "known_hosts",
            "BatchMode": "yes",
            "ConnectTimeout": 10,
            "ControlMaster": "auto",
            "ControlPath": self.folder / "%C",
            "ControlPersist": 60,
        }
        argv = ["ssh", "-i", str(self.key), *(f"-o{key}={value}" for key, value in options.items())]
        argv += [f"{self.user}@{host.address}", command]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=120, check=False)
        assert not check or done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
        return done.stdout
