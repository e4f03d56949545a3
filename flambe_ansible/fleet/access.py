"""Access to the hosts: which host keys are trusted, how long hosts may take, and the connections."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from flambe_ansible.errors import (
    AWSError,
    BastionKeyError,
    HostConnectionError,
    HostError,
    HostKeyError,
    RevokedKeyError,
)
from flambe_ansible.events import Notice, Observer
from flambe_ansible.fleet import early, records
from flambe_ansible.hosts import Host, find_boot_timeout
from flambe_ansible.ssh import Connections, Patience, known_hosts, on_each
from flambe_ansible.ssh.parallel import join
from flambe_ansible.ssh.waiting import announce_delay

ANSWER_TIMEOUT = 60.0


@dataclass(frozen=True, kw_only=True)
class Limits:
    """How long hosts may take to answer; the attributes are fields of every cluster.

    Attributes:
        answer_timeout: Seconds for a running host to accept a login, or to answer one query.
        boot_timeout: Seconds from the start of a host until it accepts a login; None depends on its type.
    """

    answer_timeout: float = ANSWER_TIMEOUT
    boot_timeout: float | None = None

    def for_launch(self, host: Host) -> Patience:
        """Return the limit of a launch: the rest of its boot time for a booting host, short for others."""
        limit = find_boot_timeout(host.instance_type) if self.boot_timeout is None else self.boot_timeout
        left = limit - host.age
        return Patience(seconds=left, setting="boot_timeout") if left > self.answer_timeout else self._answer(2)

    def for_query(self, _host: Host) -> Patience:
        """Return the limit of a command that only reads: shortest for a host that accepts no connection."""
        return self._answer(6)

    @property
    def answer(self) -> Patience:
        """The limit of one query."""
        return self._answer(1)

    def _answer(self, part: int) -> Patience:
        limit = self.answer_timeout
        return Patience(seconds=limit, reach=limit / part, setting="answer_timeout")


def limited_to(seconds: float) -> Callable[[Host], Patience]:
    """Return the same limit for every host."""
    return lambda _host: Patience(seconds=seconds)


@dataclass(frozen=True, kw_only=True)
class AccessPolicy:
    """How a provider's hosts are reached.

    Attributes:
        login_patience: Seconds during which a refused login is repeated, since the host may be booting.
        configured_keys_win: Whether keys from the configuration replace a key that was pinned earlier.
        key_hint: What to do about a wrong host key, or "" for the default.
        bastion_hint: What to do about an unknown key of the bastion, or "".
        reach_hint: What to do about a host that does not answer, before the default hint, or "".
        own_key: The path of the private key that a launch made for the cluster; None if it uses the user's key.
    """

    login_patience: float = 60.0
    configured_keys_win: bool = False
    key_hint: str = ""
    bastion_hint: str = ""
    reach_hint: str = ""
    own_key: Path | None = None


class Access:
    """The kept connections to a cluster's hosts; trusts the host keys of the provider.

    Args:
        connections: The connections; none is open yet.
        policy: How the provider's hosts are reached.
        find_keys: Returns the host keys (``type base64``) that the provider vouches for, or None.
        find_late_keys: Returns the host keys of a host that answers and has no trusted key; it may wait for them.
        jump_keys: Returns host keys of bastions by their known_hosts name.
    """

    def __init__(
        self,
        connections: Connections,
        policy: AccessPolicy,
        *,
        find_keys: Callable[[Host], list[str] | None],
        find_late_keys: Callable[[Host, threading.Event], list[str] | None],
        jump_keys: Callable[[], Mapping[str, Sequence[str]]],
    ) -> None:
        self.connections = connections
        self.policy = policy
        self._find_keys = find_keys
        self._find_late_keys = find_late_keys
        connections.on_unknown_key = self._trust_late
        self._jump_keys = jump_keys
        self._asked: set[str] = set()  # names of the hosts whose keys were looked up

    @property
    def known_hosts(self) -> Path:
        """The cluster's own known_hosts."""
        return self.connections.known_hosts

    def open(self, hosts: Sequence[Host], *, patience: Callable[[Host], Patience], observer: Observer) -> None:
        """Trust the provider's keys of these hosts, then connect to all of them."""
        errors = self.open_each(hosts, patience=patience, observer=observer)
        if errors:
            raise join(list(errors.values()))

    def open_each(
        self, hosts: Sequence[Host], *, patience: Callable[[Host], Patience], observer: Observer
    ) -> dict[str, HostError]:
        """Connect as ``open``, but go on if some hosts fail; return their errors by host name."""
        errors = self._trust_each(hosts)
        trusted = [host for host in hosts if host.name not in errors]
        errors |= self.connections.wait_each(trusted, patience=patience, observer=observer)
        records.write_reached(self.known_hosts.parent, hosts, silent=errors)
        for error in errors.values():
            self._complete_hint(error)
        return {host.name: errors[host.name] for host in hosts if host.name in errors}

    def find_dead(
        self, running: Sequence[Host], *, cluster: str, patience: Callable[[Host], Patience], observer: Observer
    ) -> dict[str, HostConnectionError]:
        """Connect to the running hosts of a cluster, and return why some do not answer, by name.

        A host that refuses the login or shows a wrong key answers.

        Raises:
            HostConnectionError: No host answers.
        """
        errors = self.open_each(running, patience=patience, observer=observer)
        lost = {name: error for name, error in errors.items() if isinstance(error, HostConnectionError)}
        dead = {name: error for name, error in lost.items() if error.unreachable}
        if running and len(dead) == len(running):
            raise HostConnectionError(
                f"no host of cluster {cluster} answers; nothing was changed",
                host=running[0].name,
                hint="check the network of this machine; flambe-ans down CLUSTER terminates all hosts",
            )
        return dead

    def open_early(self, started: Connections | None = None, *, head_only: bool = False) -> None:
        """Start to connect to the hosts that answered last, while the provider is asked which hosts there are.

        ``started`` are connections that were started before. With ``head_only``, only to the orchestrator.
        """
        if started:
            self.connections.adopt(started)
        if self.policy.own_key is None or self.policy.own_key.exists():
            self.connections.connect_early(records.read_reached(self.known_hosts.parent, head_only=head_only))

    def list_early(self) -> list[Host]:
        """List the hosts that answered last, if a connection to each of them was started; else none."""
        hosts = records.read_reached(self.known_hosts.parent)
        return hosts if self.connections.started_early(hosts) else []

    def record(self, file: str) -> None:
        """Record how the hosts of a cluster's file are reached; see ``early.connect``."""
        early.record(file, self.connections)

    def reach(self, host: Host) -> Connections:
        """Return the connections; look up the key of a host that is used before ``open``."""
        if host.name not in self._asked:
            self.trust([host])
        return self.connections

    def trust(self, hosts: Sequence[Host]) -> None:
        """Pin the host keys that the provider vouches for, of all hosts at once.

        Raises:
            HostKeyError: A key that was accepted at the first connection is not one of the provider's keys.
        """
        errors = self._trust_each(hosts)
        if errors:
            raise join(list(errors.values()))

    def trust_known(self, hosts: Sequence[Host], *, observer: Observer) -> None:
        """Pin keys as ``trust``, and warn of the hosts that have no trusted key then.

        Raises:
            HostKeyError: A key that was accepted at the first connection is not one of the provider's keys.
        """
        self.trust(hosts)
        unknown = [host.name for host in hosts if not self.connections.trusted(host)]
        if unknown:
            problem = f"no trusted host key is known of {', '.join(unknown)}: ssh refuses these hosts"
            observer(Notice(message=f"{problem} until `flambe-ans status` has reached them", warning=True))

    def _trust_each(self, hosts: Sequence[Host]) -> dict[str, HostError]:
        """Pin the provider's keys; return the errors by host name."""
        if self.policy.own_key and not self.policy.own_key.exists():
            return {host.name: _make_key_error(host, self.policy.own_key) for host in hosts}
        self._asked.update(host.name for host in hosts)
        found = on_each([host for host in hosts if self._needs_keys(host)], self._find_keys)
        errors: dict[str, HostError] = {}
        wanted: dict[str, Sequence[str]] = {}  # by known_hosts name
        for host in hosts:
            keys = found.get(host.name) or []
            try:
                if self._check(host, keys):
                    wanted[host.key_alias] = keys
            except HostKeyError as error:
                errors[host.name] = error
        wanted |= self._jump_keys()
        if wanted:
            self.connections.trust_each(wanted)
        return errors

    def _trust_late(self, host: Host, observer: Observer, stop: threading.Event) -> None:
        """Trust the provider's keys of a host that answers, if there are any by now."""
        try:
            with announce_delay(observer, f"{host.name}: waiting until its host keys are on its console"):
                keys = self._find_late_keys(host, stop)
        except AWSError as error:
            reason = f"{error.operation} failed with {error.code}" if error.code else error.message
            observer(Notice(message=f"{host.name}: its host keys are not verified: {reason}", warning=True))
            return
        if self._check(host, keys or []):
            self.connections.trust(host, keys or [])

    def _needs_keys(self, host: Host) -> bool:
        """Return whether the provider's keys of a host are needed: it has no key yet, or one that was not verified."""
        unverified = not self.connections.trusted(host) or self.connections.is_pinned(host)
        return unverified or self.policy.configured_keys_win

    def _check(self, host: Host, keys: Sequence[str]) -> bool:
        """Return whether the provider's keys of a host are new; a key from its first connection must be one of them."""
        known, pinned = self.connections.trusted(host), self.connections.is_pinned(host)
        if not keys or (list(keys) == known and not pinned):
            return False
        try:
            known_hosts.normalise_each(keys)
        except ValueError as error:
            raise HostKeyError(f"{host.name}: {error}", host=host.name) from error
        if pinned and not self.policy.configured_keys_win and not set(known) <= set(keys):
            raise HostKeyError(
                f"{host.name}: the key that was accepted at the first connection is {_describe(known)}, but the"
                f" provider shows {_describe(keys)}; nothing was sent to it",
                host=host.name,
                hint="another machine may have answered at the first connection: terminate the host, or, if its keys"
                f" were changed on purpose, remove its line from {self.known_hosts}",
            )
        return True

    def _complete_hint(self, error: HostError) -> None:
        """Replace the hint of an error by the provider's one."""
        if isinstance(error, HostKeyError) and not isinstance(error, RevokedKeyError):
            error.hint = self.policy.key_hint or error.hint
        elif isinstance(error, BastionKeyError):
            error.hint = self.policy.bastion_hint or error.hint
        elif isinstance(error, HostConnectionError) and error.unreachable:
            error.hint = "; ".join(filter(None, (self.policy.reach_hint, error.hint))) or None

    def forget(self, hosts: Sequence[Host]) -> None:
        """Remove the keys of hosts that have ended."""
        for host in hosts:
            known_hosts.replace(self.known_hosts, host.key_alias, [])

    def close(self) -> None:
        """Close all connections."""
        self.connections.close()


def _make_key_error(host: Host, key: Path) -> HostConnectionError:
    """Make the error for a host of a cluster that was launched on another machine."""
    return HostConnectionError(
        f"{host.name}: the private key of this cluster is not on this machine: {key} does not exist",
        host=host.name,
        hint=f"copy the file {key.name} to this path from the machine that launched the cluster (mode 0600)",
    )


def _describe(keys: Sequence[str]) -> str:
    return ", ".join(known_hosts.describe(key) for key in keys)
