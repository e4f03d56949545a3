"""SSH host keys that cloud-init prints on an instance's console."""

from __future__ import annotations

import base64
import binascii
import re
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from flambe_ansible.ec2 import api
from flambe_ansible.ec2.errors import ThrottledError, UnclearAnswerError
from flambe_ansible.errors import AWSError

if TYPE_CHECKING:
    from mypy_boto3_ec2.client import EC2Client

BEGIN, END = "BEGIN SSH HOST KEY KEYS", "END SSH HOST KEY KEYS"
KEY = re.compile(r"\b(ssh-ed25519|ssh-rsa|ecdsa-sha2-nistp(?:256|384|521)) (AAAA[A-Za-z0-9+/]+={0,2})")
# Error codes for an instance that is not on Nitro; it has only the older output.
NO_LATEST = frozenset({"UnsupportedOperation", "InvalidParameterCombination", "InvalidParameterValue"})
# Output of Nitro types is current; other types post theirs once, some minutes after the boot.
# https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_GetConsoleOutput.html
LATEST_WAIT = 60.0
POSTED_WAIT = 300.0
PAUSES = (0.5, 1.0, 2.0)  # seconds between two calls; the last one is repeated


def parse_host_keys(output: str) -> list[str]:
    """Read the keys of the last complete block as ``type base64``; lines may begin with a time stamp or name."""
    before, end, _ = output.rpartition(END)
    _, begin, block = before.rpartition(BEGIN)
    if not (begin and end):
        return []
    keys = [(match[1], match[2]) for match in map(KEY.search, block.splitlines()) if match]
    return list(dict.fromkeys(f"{kind} {key}" for kind, key in keys if _is_key(kind, key)))


def read_host_keys(ec2: EC2Client, instance_id: str) -> list[str] | None:
    """Read an instance's host keys; None if its console shows none, or if the call fails."""
    try:
        return _Console(ec2, instance_id).read_keys() or None
    except AWSError:
        return None


def wait_for_host_keys(ec2: EC2Client, instance_id: str, *, stop: threading.Event) -> list[str] | None:
    """Read the host keys of a new instance whose sshd answers; poll as long as its type may need to show them.

    A call that is throttled or gets no clear answer is repeated. None if the console shows no keys in time, or if
    ``stop`` is set.

    Raises:
        AWSError: The console cannot be read.
    """
    console, started, pauses = _Console(ec2, instance_id), time.monotonic(), list(PAUSES)
    while True:
        try:
            if keys := console.read_keys():
                return keys
        except (ThrottledError, UnclearAnswerError):
            pass
        pause = pauses.pop(0) if len(pauses) > 1 else pauses[0]
        wait = LATEST_WAIT if console.latest else POSTED_WAIT
        if time.monotonic() + pause - started > wait or stop.wait(pause):
            return None


@dataclass
class _Console:
    """The console of an instance; ``latest`` is whether its type has current output, as far as known."""

    ec2: EC2Client
    instance_id: str
    latest: bool = True

    def read_keys(self) -> list[str]:
        """Read the keys in the current output, or in the posted one if the type has no current output."""
        if self.latest:
            try:
                return parse_host_keys(api.get_console_output(self.ec2, self.instance_id, latest=True))
            except AWSError as error:
                if error.code not in NO_LATEST:
                    raise
            self.latest = False
        return parse_host_keys(api.get_console_output(self.ec2, self.instance_id, latest=False))


def _is_key(kind: str, key: str) -> bool:
    """Return whether the base64 text is a complete key of this type; console lines may be truncated."""
    try:
        raw = base64.b64decode(key, validate=True)
    except binascii.Error:
        return False
    fields, rest = [], raw
    while len(rest) >= 4:
        size = int.from_bytes(rest[:4], "big")
        if len(rest) < 4 + size:
            return False
        fields.append(rest[4 : 4 + size])
        rest = rest[4 + size :]
    return not rest and len(fields) > 1 and fields[0] == kind.encode()
