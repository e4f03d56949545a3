"""Messages for refused connections, and for keys that were accepted without verification."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from flambe_ansible.errors import BastionKeyError, HostConnectionError, HostKeyError, RevokedKeyError
from flambe_ansible.events import Notice
from flambe_ansible.hosts import Host
from flambe_ansible.ssh import known_hosts, routes
from flambe_ansible.ssh.masters import Diagnosis, Failure
from flambe_ansible.ssh.options import Target


def explain(
    host: Host, target: Target, diagnosis: Diagnosis, *, expected: Sequence[str], remedy: str = ""
) -> HostConnectionError:
    """Make the error of a failed connection; ``expected`` are the host's trusted public keys."""
    route = routes.describe(target.proxy_command) if target.proxy_command else ""
    login = f"{target.username}@{target.address} port {target.port}{route}"
    if diagnosis.failure is Failure.HOST_KEY:
        keys = ", ".join(known_hosts.describe(key) for key in expected) or "none"
        return HostKeyError(
            f"{host.name}: the host at {target.address} shows the key {diagnosis.seen}, but the key of"
            f" {target.alias} is {keys}; nothing was sent to it",
            host=host.name,
            hint="another machine may answer at this address; if the host was rebuilt, remove its line from"
            f" {target.known_hosts}",
        )
    if diagnosis.failure is Failure.REVOKED_KEY:
        return RevokedKeyError(
            f"{host.name}: the host at {target.address} shows the key {diagnosis.seen}, which your known_hosts marks"
            " as @revoked; nothing was sent to it",
            host=host.name,
            hint="replace the host's key, or remove the @revoked line if the key is safe",
        )
    if diagnosis.failure is Failure.BASTION_KEY:
        return BastionKeyError(
            f"{host.name}: cannot connect to {login}: {diagnosis.message}; nothing was sent to it",
            host=host.name,
            hint="log in to the bastion once with ssh, and check its key there",
        )
    if diagnosis.failure is Failure.DENIED:
        return HostConnectionError(
            f"{host.name}: SSH login as {login} with the key {target.key} failed: {diagnosis.message}",
            host=host.name,
            hint="check the username, that the key belongs to the hosts' key pair, and that only the user can write to"
            " the home folder there, which sshd requires; add a key with a passphrase to the agent:"
            f" ssh-add {shlex.quote(str(target.key))}",
        )
    check = "check that this machine can log in there, and that it reaches the host" if route else ""
    return HostConnectionError(
        f"{host.name}: cannot connect to {login}: {diagnosis.message}",
        host=host.name,
        hint="; ".join(filter(None, (check, remedy))) or None,
        unreachable=diagnosis.failure is Failure.UNREACHABLE,
    )


def announce_unseen(host: Host, keys: Sequence[str]) -> Notice:
    """Make the warning for a host key that was accepted without verification."""
    shown = ", ".join(known_hosts.describe(key) for key in keys)
    return Notice(
        message=f"{host.name}: no trusted host key was known; the key seen at {host.address} was accepted, and is"
        f" required from now on: {shown}",
        warning=True,
    )
