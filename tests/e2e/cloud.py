"""A client's view of a lab, for tests: boto3, ssh, and waiting."""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import boto3

from flambe_ansible.lab import LabInfo

T = TypeVar("T")
_KEYS: dict[str, set[str]] = {}


def client(info: LabInfo, service: str = "ec2", **changed: str) -> Any:
    """Make a boto3 client of the lab; ``access_key``, ``secret_key`` and ``region`` can be overridden."""
    return boto3.client(
        service,
        endpoint_url=info.endpoint,
        region_name=changed.get("region", info.region),
        aws_access_key_id=changed.get("access_key", info.access_key),
        aws_secret_access_key=changed.get("secret_key", info.secret_key),
    )


def request(info: LabInfo, **changed: Any) -> dict[str, Any]:
    """Return the parameters of a RunInstances call; None omits one."""
    parameters = {
        "ImageId": info.image_id,
        "InstanceType": "t3.small",
        "KeyName": info.key_name,
        "SubnetId": info.subnet_id,
        "SecurityGroupIds": [info.security_group],
        "MinCount": 1,
        "MaxCount": 1,
        **changed,
    }
    return {key: value for key, value in parameters.items() if value is not None}


def run(info: LabInfo, **changed: Any) -> list[str]:
    """Launch instances, wait until they are running, and return their ids."""
    ids = [one["InstanceId"] for one in client(info).run_instances(**request(info, **changed))["Instances"]]
    wait_for(info, ids, "running")
    return ids


def describe(info: LabInfo, *ids: str) -> list[dict[str, Any]]:
    """Describe instances, in the order of the ids."""
    groups = client(info).describe_instances(InstanceIds=list(ids))["Reservations"]
    found = {one["InstanceId"]: one for group in groups for one in group["Instances"]}
    return [found[name] for name in ids]


def wait_for(info: LabInfo, ids: list[str], state: str, *, timeout: float = 300) -> None:
    """Wait until all instances are in a state."""
    wait_until(lambda: all(one["State"]["Name"] == state for one in describe(info, *ids)), f"{ids} {state}", timeout)


def wait_until(condition: Callable[[], object], what: str, timeout: float = 180) -> None:
    """Wait until a condition is true."""
    ask_until(condition, bool, what, timeout)


def ask_until(
    ask: Callable[[], T], accept: Callable[[T], object], what: str, timeout: float = 180, *, pause: float = 0.1
) -> T:
    """Ask until an answer is accepted, and return it.

    Most questions are processes, which slow down what they wait for. So a pause is twice as long as the question took,
    at most 2 s, and at least ``pause`` seconds.
    """
    deadline = time.monotonic() + timeout
    while True:
        started = time.monotonic()
        answer = ask()
        ended = time.monotonic()
        if accept(answer):
            return answer
        assert ended < deadline, f"not within {timeout} s: {what}; the last answer: {answer}"
        time.sleep(max(pause, min(2 * (ended - started), 2)))


def console_keys(info: LabInfo, instance: str) -> set[str]:
    """Read the SSH host keys from an instance's console, as ``type base64``; none after it was stopped and started."""
    output = client(info).get_console_output(InstanceId=instance, Latest=True)["Output"]
    block = re.search(r"-----BEGIN SSH HOST KEY KEYS-----\n(.*?)-----END SSH HOST KEY KEYS-----", output, re.DOTALL)
    return {" ".join(line.split()[:2]) for line in block[1].splitlines()} if block else set()


def known_keys(info: LabInfo, instance: str) -> set[str]:
    """Return the SSH host keys that an instance's console showed at its first boot; wait for them."""
    if instance not in _KEYS:
        wait_until(lambda: bool(console_keys(info, instance)), f"keys on the console of {instance}", 60)
        _KEYS[instance] = console_keys(info, instance)
    return _KEYS[instance]


def ssh(info: LabInfo, instance: str, command: str, tmp: Path) -> str:
    """Run a command on a host; its host key must match the console."""
    address = describe(info, instance)[0]["PrivateIpAddress"]
    known = tmp / f"known_hosts.{instance}"
    known.write_text("".join(f"{address} {key}\n" for key in known_keys(info, instance)))
    options = ["-o", "StrictHostKeyChecking=yes", "-o", f"UserKnownHostsFile={known}", "-o", "BatchMode=yes"]
    argv = ["ssh", "-i", str(info.key), *options, "-o", "ConnectTimeout=10", f"ubuntu@{address}", command]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout.strip()
