"""Kept connections, one a host: opening, checking and ending them."""

from __future__ import annotations

import contextlib
import hashlib
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from flambe_ansible.errors import HostConnectionError, HostError, HostKeyError
from flambe_ansible.events import Observer, Status, StepEvent, ignore
from flambe_ansible.hosts import Host
from flambe_ansible.ssh import known_hosts, routes, waiting
from flambe_ansible.ssh.masters import ConnectFailedError, Master
from flambe_ansible.ssh.messages import announce_unseen, explain
from flambe_ansible.ssh.options import PYTHON, Target, ansible_variables, interactive_argv
from flambe_ansible.ssh.parallel import on_each
from flambe_ansible.ssh.probing import Probe
from flambe_ansible.ssh.processes import Processes

Result = TypeVar("Result")
_RECONNECT_SECONDS = 60.0
_GOODBYE_SECONDS = 1.0


class Links:
    """The connections alone; :class:`~flambe_ansible.ssh.connections.Connections` says what its arguments mean."""

    def __init__(
        self,
        *,
        username: str,
        key: Path,
        known_hosts: Path,
        options: Mapping[str, str] | None = None,
        proxy_jump: str | None = None,
        strict_host_keys: bool = False,
        login_patience: float = 60.0,
    ) -> None:
        self.username = username
        self.key = Path(key).expanduser().absolute()
        self.known_hosts = Path(known_hosts).absolute()
        self.proxy_jump = proxy_jump
        self.strict_host_keys = strict_host_keys
        self.login_patience = login_patience
        self.probes: dict[str, Probe] = {}
        self._options = dict(options or {})
        self._proxies: dict[tuple[str, int], str | None] = {}
        self._masters: dict[str, Master] = {}
        self._opening: dict[str, threading.Lock] = {}
        self._lock = threading.RLock()
        self._folder: Path | None = None
        self._processes = Processes()
        self._stop = threading.Event()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End every connection and remove the sockets; harmless when nothing is open."""
        self._stop.set()
        self._processes.cancel()
        with self._lock:
            masters, self._masters = list(self._masters.values()), {}
            folder, self._folder = self._folder, None
        for master in masters:
            master.hang_up()
        deadline = time.monotonic() + _GOODBYE_SECONDS
        for master in masters:
            with contextlib.suppress(OSError, subprocess.SubprocessError):
                master.close(patience=max(deadline - time.monotonic(), 0.01))
        if folder:
            shutil.rmtree(folder, ignore_errors=True)
        self._processes.reset()
        self._stop.clear()

    def trust(self, host: Host, keys: Sequence[str]) -> None:
        """Believe these keys, and no others, of a host.

        Args:
            host: The host; its keys are kept under :attr:`~flambe_ansible.hosts.Host.key_alias`.
            keys: Public keys, each ``type base64 [comment]``, as the provider's console shows them.

        Raises:
            HostKeyError: One of them is no public key.
        """
        try:
            with self._lock:
                known_hosts.replace(self.known_hosts, host.key_alias, keys)
        except ValueError as e:
            raise HostKeyError(f"{host.name}: {e}", host=host.name) from e

    def trusted(self, host: Host) -> list[str]:
        """List the keys that are believed of a host."""
        return known_hosts.keys_of(self.known_hosts, host.key_alias)

    def knows(self, host: Host) -> bool:
        """Whether a host's key is known, so that its first connection is checked."""
        return bool(self.trusted(host))

    def wait(self, hosts: Sequence[Host], *, timeout: float = 300.0, observer: Observer = ignore) -> None:
        """Connect to all hosts at once, waiting for those that are still booting.

        A host that is connected already stays so.

        Args:
            hosts: The hosts.
            timeout: Seconds for all of it.
            observer: Hears the step ``connect`` of each host, and a warning for each key that was taken unseen.

        Raises:
            HostKeyError: A host shows another key than it should, or, with ``strict_host_keys``, nobody told its key.
            HostConnectionError: A host did not answer or did not let in. Nothing was sent to it.
        """
        deadline = time.monotonic() + timeout

        def connect(host: Host) -> None:
            started = time.monotonic()
            observer(StepEvent(host=host.name, step="connect", status=Status.RUNNING))
            try:
                self._connect(host, deadline=deadline, observer=observer)
            except HostError as e:
                seconds = time.monotonic() - started
                observer(
                    StepEvent(host=host.name, step="connect", status=Status.FAILED, seconds=seconds, detail=e.message)
                )
                self._stop.set()  # one host that cannot be reached ends the wait for the others
                raise
            seconds = time.monotonic() - started
            if not self._stop.is_set():
                observer(StepEvent(host=host.name, step="connect", status=Status.OK, seconds=seconds))

        try:
            on_each(hosts, connect, cancel=self._cancel)
        finally:
            self._stop.clear()
            self._processes.reset()

    def argv(self, host: Host, *, tty: bool = False) -> list[str]:
        """Build the ssh command for a person; append a command line, or nothing for a shell.

        It opens a connection of its own and needs no other to be open, so that it may replace this process.

        Args:
            host: The host.
            tty: Ask for a terminal even with a command.

        Raises:
            HostKeyError: With ``strict_host_keys``, nobody told the host's key.
        """
        return interactive_argv(self._target(host), tty=tty)

    def ansible_variables(self, host: Host, *, multiplexed: bool = True) -> dict[str, Any]:
        """Build the variables with which Ansible connects to a host as this object does.

        Args:
            host: The host.
            multiplexed: Share the kept connection, which ends with this object; without it, the variables stay
                valid after that.
        """
        socket = self._socket(host) if multiplexed else None
        probe = self.probes.get(host.name)
        return ansible_variables(self._target(host), socket=socket, python=probe.python if probe else PYTHON)

    @staticmethod
    def static_variables(host: Host, *, username: str, key: Path, known_hosts: Path, **options: Any) -> dict[str, Any]:
        """Build the variables with which Ansible connects to a host at any time, without an object of this class.

        Unlike :meth:`ansible_variables`, they demand a known key in every case.

        Args:
            host: The host.
            username: Who logs in.
            key: Path of the private key.
            known_hosts: The cluster's own known_hosts.
            options: The other arguments of :class:`~flambe_ansible.ssh.Connections`.
        """
        links = Links(username=username, key=key, known_hosts=known_hosts, **options)
        links.strict_host_keys = False  # a host without a key stays in the inventory; connecting to it is refused
        return ansible_variables(replace(links._target(host), accept_new=False))

    def _on_each(self, hosts: Sequence[Host], work: Callable[[Host], Result]) -> dict[str, Result]:
        try:
            return on_each(hosts, work, cancel=self._cancel)
        finally:
            self._processes.reset()
            self._stop.clear()

    def _cancel(self) -> None:
        self._stop.set()
        self._processes.cancel()
        with self._lock:
            masters = list(self._masters.values())
        for master in masters:
            master.interrupt()

    def _master(self, host: Host) -> Master:
        """Find a host's connection; make it where there is none or it was lost."""
        with self._lock:
            master = self._masters.get(host.name)
        if master is not None and master.alive:
            return master
        return self._connect(host, deadline=time.monotonic() + _RECONNECT_SECONDS, observer=ignore)

    def _connect(self, host: Host, *, deadline: float, observer: Observer) -> Master:
        with self._lock:
            lock = self._opening.setdefault(host.name, threading.Lock())
        with lock:
            with self._lock:
                master = self._masters.get(host.name)
            if master is not None and master.alive:
                return master
            target = self._target(host)
            if not target.proxy_command:
                waiting.wait_for_banner(host.name, host.address, port=host.port, deadline=deadline, stop=self._stop)
            with self._lock:
                master = self._masters[host.name] = Master(target, self._socket(host))
            try:
                waiting.open_with_patience(
                    master, deadline=deadline, login_patience=self.login_patience, stop=self._stop
                )
            except ConnectFailedError as e:
                raise explain(host, target, e.diagnosis, expected=self.trusted(host)) from e
            if target.accept_new and master.alive:
                observer(announce_unseen(host, self.trusted(host)))
            return master

    def _target(self, host: Host) -> Target:
        if not host.address:
            raise HostConnectionError(f"{host.name}: it has no address to connect to", host=host.name)
        known = bool(self.trusted(host))
        if not known and self.strict_host_keys:
            raise HostKeyError(
                f"{host.name}: nobody told its host key, and strict_host_keys is set; nothing was sent to it",
                host=host.name,
                hint="The console of a host that has just booted shows its keys after a while; try again.",
            )
        return Target(
            alias=host.key_alias,
            address=host.address,
            port=host.port,
            username=self.username,
            key=self.key,
            known_hosts=self.known_hosts,
            accept_new=not known,
            proxy_command=self._proxy(host),
            extra=self._options,
        )

    def _proxy(self, host: Host) -> str | None:
        if self.proxy_jump:
            return routes.jump_command(self.proxy_jump, key=self.key, known_hosts=self.known_hosts)
        place = (host.address, host.port)
        if place not in self._proxies:
            self._proxies[place] = routes.find_proxy(host.address, port=host.port, username=self.username)
        return self._proxies[place]

    def _socket(self, host: Host) -> Path:
        """Name a host's socket; short, because a socket's path must fit 104 bytes on some systems."""
        with self._lock:
            if self._folder is None:
                self._folder = Path(tempfile.mkdtemp(prefix="flambe-", dir="/tmp"))
            return self._folder / hashlib.sha256(host.name.encode()).hexdigest()[:12]
