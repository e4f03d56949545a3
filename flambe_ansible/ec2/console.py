"""SSH host keys that cloud-init prints on an instance's console."""

from __future__ import annotations

import base64
import binascii
import re
import time
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
POLL_SECONDS = 2.0


def parse_host_keys(output: str) -> list[str]:
    """Read the keys of the last complete block as ``type base64``; lines may begin with a time stamp or name."""
    before, end, _ = output.rpartition(END)
    _, begin, block = before.rpartition(BEGIN)
    if not (begin and end):
        return []
    keys = [(match[1], match[2]) for match in map(KEY.search, block.splitlines()) if match]
    return list(dict.fromkeys(f"{kind} {key}" for kind, key in keys if _is_key(kind, key)))


def read_host_keys(ec2: EC2Client, instance_id: str, *, wait: float = 0.0) -> list[str] | None:
    """Read an instance's host keys; poll for ``wait`` seconds. None if the console shows none.

    A call that is throttled or gets no clear answer shows none; it is repeated like others.
    """
    deadline = time.monotonic() + wait
    while True:
        keys = parse_host_keys(_read_console(ec2, instance_id))
        if keys:
            return keys
        if time.monotonic() + POLL_SECONDS > deadline:
            return None
        time.sleep(POLL_SECONDS)


def _read_console(ec2: EC2Client, instance_id: str) -> str:
    """Read the newest output, or the older one if the instance does not support it."""
    try:
        return api.get_console_output(ec2, instance_id, latest=True)
    except (ThrottledError, UnclearAnswerError):
        return ""
    except AWSError as error:
        if error.code not in NO_LATEST:
            raise
    try:
        return api.get_console_output(ec2, instance_id, latest=False)
    except (ThrottledError, UnclearAnswerError):
        return ""


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
