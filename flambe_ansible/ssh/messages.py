"""What to tell a person when a connection is refused, or was made on trust."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from flambe_ansible.errors import HostConnectionError, HostKeyError
from flambe_ansible.events import Notice
from flambe_ansible.hosts import Host
from flambe_ansible.ssh import known_hosts
from flambe_ansible.ssh.masters import Diagnosis, Failure
from flambe_ansible.ssh.options import Target


def explain(host: Host, target: Target, diagnosis: Diagnosis, *, expected: Sequence[str]) -> HostConnectionError:
    """Make the error of a connection that could not be opened.

    Args:
        host: The host.
        target: What the connection was to be.
        diagnosis: What ssh said.
        expected: The public keys that are believed of the host.
    """
    place = f"{target.username}@{target.address} port {target.port}"
    if diagnosis.failure is Failure.HOST_KEY:
        keys = ", ".join(known_hosts.describe(key) for key in expected) or "none"
        return HostKeyError(
            f"{host.name}: the host at {target.address} shows the key {diagnosis.seen}, but the key of"
            f" {target.alias} is {keys}; nothing was sent to it",
            host=host.name,
            hint="Somebody else may answer at this address. If you know that the host was rebuilt, remove its"
            f" line from {target.known_hosts}.",
        )
    if diagnosis.failure is Failure.DENIED:
        return HostConnectionError(
            f"{host.name}: {place} does not let in with the key {target.key}: {diagnosis.message}",
            host=host.name,
            hint="Is it the key pair of the hosts, and the right username? A key with a passphrase must be in"
            f" the agent: ssh-add {shlex.quote(str(target.key))}",
        )
    return HostConnectionError(f"{host.name}: cannot connect to {place}: {diagnosis.message}", host=host.name)


def announce_unseen(host: Host, keys: Sequence[str]) -> Notice:
    """Say loudly that a host's key was taken as it came."""
    shown = ", ".join(known_hosts.describe(key) for key in keys)
    return Notice(
        message=f"{host.name}: nobody told its host key beforehand; the first one seen at {host.address} is kept and"
        f" from now on required: {shown}",
        warning=True,
    )
