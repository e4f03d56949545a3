"""Access to the hosts: which host keys are trusted, and the connections."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from flambe_ansible.errors import BastionKeyError, HostError, HostKeyError, RevokedKeyError
from flambe_ansible.events import Observer
from flambe_ansible.hosts import Host
from flambe_ansible.ssh import Connections, known_hosts, on_each

READY_TIMEOUT = 300.0  # seconds for all hosts of a launch to accept a login
ASK_TIMEOUT = 10.0  # seconds for a host to answer a command that only reads


@dataclass(frozen=True, kw_only=True)
class AccessPolicy:
    """How a provider's hosts are reached.

    Attributes:
        ready_timeout: Seconds for all hosts of a launch to accept a login.
        login_patience: Seconds during which a refused login is repeated, since the host may be booting.
        configured_keys_win: Whether keys from the configuration replace a key that was pinned earlier.
        key_hint: What to do about a wrong host key, or "" for the default.
        bastion_hint: What to do about an unknown key of the bastion, or "".
    """

    ready_timeout: float = READY_TIMEOUT
    login_patience: float = 60.0
    configured_keys_win: bool = False
    key_hint: str = ""
    bastion_hint: str = ""


class Access:
    """The kept connections to a cluster's hosts; trusts the host keys of the provider.

    Args:
        connections: The connections; none is open yet.
        policy: How the provider's hosts are reached.
        find_keys: Returns the host keys (``type base64``) that the provider vouches for, or None.
        jump_keys: Returns host keys of bastions by their known_hosts name.
    """

    def __init__(
        self,
        connections: Connections,
        policy: AccessPolicy,
        *,
        find_keys: Callable[[Host], list[str] | None],
        jump_keys: Callable[[], Mapping[str, Sequence[str]]],
    ) -> None:
        self.connections = connections
        self.policy = policy
        self._find_keys = find_keys
        self._jump_keys = jump_keys
        self._asked: set[str] = set()  # names of the hosts whose keys were looked up

    @property
    def known_hosts(self) -> Path:
        """The cluster's own known_hosts."""
        return self.connections.known_hosts

    def open(self, hosts: Sequence[Host], *, timeout: float, observer: Observer) -> None:
        """Trust the provider's keys of these hosts, then connect to all of them."""
        self.trust(hosts)
        with self._complete_hint():
            self.connections.wait(hosts, timeout=timeout, observer=observer)

    def open_each(self, hosts: Sequence[Host], *, timeout: float, observer: Observer) -> dict[str, HostError]:
        """Connect as ``open``, but go on if some hosts fail; return their errors by host name."""
        self.trust(hosts)
        with self._complete_hint():
            return self.connections.wait_each(hosts, timeout=timeout, observer=observer)

    @contextlib.contextmanager
    def _complete_hint(self) -> Iterator[None]:
        """Replace the hint of an error by the provider's one."""
        try:
            yield
        except RevokedKeyError:
            raise
        except HostKeyError as error:
            error.hint = self.policy.key_hint or error.hint
            raise
        except BastionKeyError as error:
            error.hint = self.policy.bastion_hint or error.hint
            raise

    def reach(self, host: Host) -> Connections:
        """Return the connections; look up the key of a host that is used before ``open``."""
        if host.name not in self._asked:
            self.trust([host])
        return self.connections

    def trust(self, hosts: Sequence[Host]) -> None:
        """Pin the host keys that the provider vouches for, of all hosts at once."""
        self._asked.update(host.name for host in hosts)
        wanted = [host for host in hosts if self.policy.configured_keys_win or not self.connections.trusted(host)]
        found = on_each(wanted, self._find_keys)
        for host in wanted:
            keys = found[host.name]
            if keys and keys != self.connections.trusted(host):
                self.connections.trust(host, keys)
        for name, jump_keys in self._jump_keys().items():
            known_hosts.replace(self.known_hosts, name, jump_keys)

    def close(self) -> None:
        """Close all connections."""
        self.connections.close()
