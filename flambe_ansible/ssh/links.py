"""Open, check and end one connection per host."""

from __future__ import annotations

import contextlib
import hashlib
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Self, TypeVar

from flambe_ansible.errors import HostConnectionError, HostError, HostKeyError
from flambe_ansible.events import Observer, Status, StepEvent, ignore
from flambe_ansible.hosts import Host
from flambe_ansible.ssh import descriptors, known_hosts, routes, waiting
from flambe_ansible.ssh.early import EarlyConnection
from flambe_ansible.ssh.host_entries import write_entry
from flambe_ansible.ssh.masters import ConnectFailedError, Master
from flambe_ansible.ssh.messages import announce_unseen, explain
from flambe_ansible.ssh.options import PYTHON, Target, ansible_variables, interactive_argv
from flambe_ansible.ssh.parallel import WORKERS, join, on_each
from flambe_ansible.ssh.probing import Probe
from flambe_ansible.ssh.processes import Processes
from flambe_ansible.ssh.waiting import Patience

Result = TypeVar("Result")
Place = tuple[str, str, int, str]
_GOODBYE_SECONDS = 1.0


class Links:
    """The connections without commands and files; see :class:`~flambe_ansible.ssh.connections.Connections`."""

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
        answer: Patience = Patience(seconds=60.0),  # noqa: B008 - frozen
        observer: Observer = ignore,
    ) -> None:
        self.username = username
        self.key = Path(key).expanduser().absolute()
        self.known_hosts = Path(known_hosts).absolute()
        self.proxy_jump = proxy_jump
        self.strict_host_keys = strict_host_keys
        self.login_patience = login_patience
        self.answer = answer
        self.observer = observer
        self.probes: dict[str, Probe] = {}
        # The programs and commands that ran with the probes, each with its output, by host.
        self._outputs: dict[str, tuple[str, str]] = {}
        self._answers: dict[str, tuple[str, str]] = {}
        # Called for a host that answers and has no trusted key, before the key that it offers is accepted.
        self.on_unknown_key: Callable[[Host, Observer, threading.Event], None] = lambda *_: None
        self._options = dict(options or {})
        self._proxies: dict[tuple[str, int], str | None] = {}
        # By the place of the host, so that a host that was replaced does not share anything with its successor.
        self._masters: dict[Place, Master] = {}
        self._early: dict[Place, EarlyConnection] = {}
        self._opening: dict[Place, threading.Lock] = {}
        self._lock = threading.RLock()
        self._folder: Path | None = None
        self._processes = Processes()
        self._stop = threading.Event()  # set by a cancellation, until all fan-outs have ended
        self._fan_outs: set[threading.Event] = set()  # the stop event of each running fan-out

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def close(self) -> None:
        """End every connection and remove the sockets; does nothing if none is open."""
        self._stop_all()
        self._processes.cancel()
        self._drop_early(list(self._early))
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
        self._reset_if_idle()

    def trust(self, host: Host, keys: Sequence[str]) -> None:
        """Trust these public keys of a host, and no others; those with the prefix ``@revoked`` are refused."""
        self._drop_early([one for one in self._early if one[0] == host.name])
        try:
            with self._lock:
                known_hosts.replace(self.known_hosts, host.key_alias, keys)
        except ValueError as e:
            raise HostKeyError(f"{host.name}: {e}", host=host.name) from e

    def trust_each(self, keys: Mapping[str, Sequence[str]]) -> None:
        """Trust as :meth:`trust`, several hosts with one write; the keys by the alias of their host."""
        self._drop_early(list(self._early))
        with self._lock:
            known_hosts.replace_each(self.known_hosts, keys)

    def trusted(self, host: Host) -> list[str]:
        """List the trusted keys of a host."""
        return known_hosts.keys_of(self.known_hosts, host.key_alias)

    def is_pinned(self, host: Host) -> bool:
        """Return whether a host's key was accepted at the first connection, and was not verified since."""
        return known_hosts.is_pinned(self.known_hosts, host.key_alias)

    def connect_early(self, hosts: Sequence[Host]) -> None:
        """Start to connect to hosts that may have changed since; only with verified keys, and without waiting.

        :meth:`wait` uses such a connection if it leads to the same address and checks the same key; else, it is closed.
        """
        for host in hosts[:WORKERS]:
            if host.place in self._early:
                continue
            if host.place not in self._masters and self.trusted(host) and not self.is_pinned(host):
                make = partial(self._make_master, host)
                self._early[host.place] = EarlyConnection(make, timeout=self.answer.seconds)

    def started_early(self, hosts: Sequence[Host]) -> bool:
        """Return whether :meth:`connect_early` started a connection to each of these hosts that is not in use yet."""
        return all(host.place in self._early for host in hosts)

    def adopt(self, other: Self) -> None:
        """Use the connections that another object opens early, as own ones; the other object must not be used then.

        If this object has open connections already, those of the other one are closed.
        """
        with self._lock:
            if self._folder is None:
                self._folder, self._early, self._proxies = other._find_folder(), other._early, other._proxies
                return
        other.close()

    def wait(self, hosts: Sequence[Host], *, timeout: float = 300.0, observer: Observer = ignore) -> None:
        """Connect to all hosts at once; wait for those that are still booting. Open connections are kept.

        The observer receives the step ``connect`` of each host, and a warning for each key that is accepted without
        verification.
        """
        errors = self.wait_each(hosts, patience=lambda _host: Patience(seconds=timeout), observer=observer)
        if errors:
            raise join(list(errors.values()))

    def wait_each(
        self, hosts: Sequence[Host], *, patience: Callable[[Host], Patience], observer: Observer = ignore
    ) -> dict[str, HostError]:
        """Connect as :meth:`wait`, each host with its own time limit; return the errors of those that fail by name."""

        def connect(host: Host) -> HostError | None:
            try:
                self._open(host, patience=patience(host), observer=observer, stop=stop)
            except HostError as e:
                return e
            return None

        if hosts:
            with self._lock:
                places = self._masters.keys() | {host.place for host in hosts}
            descriptors.allow_connections(len(places), host=hosts[0].name)
        with self._fan_out() as stop:
            errors = on_each(hosts, connect, cancel=self._cancel)
        return {name: error for name, error in errors.items() if error}

    def _open(self, host: Host, *, patience: Patience, observer: Observer, stop: threading.Event) -> None:
        """Connect to a host, and report the step ``connect``."""
        started = time.monotonic()
        running = StepEvent(host=host.name, step="connect", status=Status.RUNNING)
        observer(running)
        try:
            self._connect(host, patience=patience, observer=observer, stop=stop)
        except HostError as e:
            seconds = time.monotonic() - started
            observer(replace(running, status=Status.FAILED, seconds=seconds, detail=e.message))
            raise
        if not stop.is_set():
            observer(replace(running, status=Status.OK, seconds=time.monotonic() - started))

    def argv(self, host: Host, *, tty: bool = False) -> list[str]:
        """Build the ssh command for interactive use; append a command line, or nothing for a shell.

        It opens a new connection and needs no open one, so that it can replace this process.
        """
        return interactive_argv(self._target(host), tty=tty)

    def config_entries(self, hosts: Sequence[Host]) -> str:
        """Write the hosts as entries of ``ssh_config(5)``; they always require a trusted key."""
        entries = [write_entry(host.name, replace(self._target(host), accept_new=False)) for host in hosts]
        return "\n".join(entries)

    def ansible_variables(self, host: Host, *, multiplexed: bool = True) -> dict[str, Any]:
        """Build the variables with which Ansible connects to a host.

        If ``multiplexed``, Ansible shares this object's connection, which ends with the object.
        """
        socket = self._socket(host) if multiplexed else None
        probe = self.probes.get(host.name)
        return ansible_variables(self._target(host), socket=socket, python=probe.python if probe else PYTHON)

    @staticmethod
    def static_variables(
        hosts: Sequence[Host], *, username: str, key: Path, known_hosts: Path, **options: Any
    ) -> dict[str, dict[str, Any]]:
        """Build the variables with which Ansible connects to hosts, by name, without an object of this class.

        Unlike :meth:`ansible_variables`, they always require a trusted key. ``options`` are the other arguments of
        :class:`~flambe_ansible.ssh.Connections`.
        """
        links = Links(username=username, key=key, known_hosts=known_hosts, **options)
        links.strict_host_keys = False  # hosts without a trusted key stay in the inventory
        return on_each(hosts, lambda host: ansible_variables(replace(links._target(host), accept_new=False)))

    def _on_each(self, hosts: Sequence[Host], work: Callable[[Host], Result]) -> dict[str, Result]:
        with self._fan_out():
            return on_each(hosts, work, cancel=self._cancel)

    @contextlib.contextmanager
    def _fan_out(self) -> Iterator[threading.Event]:
        """Register a fan-out and yield its stop event; a cancellation lasts until the last fan-out has ended."""
        stop = threading.Event()
        with self._lock:
            self._fan_outs.add(stop)
            if self._stop.is_set():
                stop.set()
        try:
            yield stop
        finally:
            with self._lock:
                self._fan_outs.discard(stop)
            self._reset_if_idle()

    def _stop_all(self) -> None:
        """End all waits for connections."""
        with self._lock:
            for stop in (self._stop, *self._fan_outs):
                stop.set()

    def _reset_if_idle(self) -> None:
        """Allow new work after a cancellation, if no fan-out is running."""
        with self._lock:
            if not self._fan_outs:
                self._processes.reset()
                self._stop.clear()

    def _cancel(self) -> None:
        self._stop_all()
        self._processes.cancel()
        with self._lock:
            opening: list[Master | EarlyConnection] = [*self._masters.values(), *self._early.values()]
        for one in opening:
            one.interrupt()

    def _master(self, host: Host) -> Master:
        """Return a host's connection; open it if there is none or it was lost."""
        return self._find_open(host) or self._connect(host, patience=self.answer, observer=ignore, stop=self._stop)

    def _find_open(self, host: Host) -> Master | None:
        with self._lock:
            master = self._masters.get(host.place)
        return master if master is not None and master.alive else None

    def _connect(self, host: Host, *, patience: Patience, observer: Observer, stop: threading.Event) -> Master:
        with self._lock:
            lock = self._opening.setdefault(host.place, threading.Lock())
        with lock:
            if master := self._find_open(host):
                return master
            _require_address(host)
            deadline = time.monotonic() + patience.seconds
            self._drop_early([one for one in self._early if one[0] == host.name and one != host.place])
            early = self._early.get(host.place)
            if not self._proxy(host) and not (early and early.is_open):
                waiting.wait_for_banner(host.name, host.address, port=host.port, patience=patience, stop=stop)
            if not self.trusted(host):
                answered = time.monotonic()
                self.on_unknown_key(host, observer, stop)
                deadline += time.monotonic() - answered
            target = self._target(host)
            if early and (master := early.take(target, deadline=deadline)):
                with self._lock:
                    self._masters[host.place] = master
                    self._early.pop(host.place, None)
                return master
            with self._lock:
                master = self._masters[host.place] = Master(target, self._socket(host))
            try:
                waiting.open_with_patience(master, deadline=deadline, login_patience=self.login_patience, stop=stop)
            except ConnectFailedError as e:
                raise explain(host, target, e.diagnosis, expected=self.trusted(host), remedy=patience.remedy) from e
            if target.accept_new and master.alive:
                known_hosts.mark_pinned(self.known_hosts, host.key_alias)
                observer(announce_unseen(host, self.trusted(host)))
            return master

    def _make_master(self, host: Host) -> Master:
        return Master(self._target(host), self._socket(host))

    def _drop_early(self, places: Sequence[Place]) -> None:
        """Close connections that were opened early and not used."""
        for place in places:
            if early := self._early.pop(place, None):
                early.drop()

    def _target(self, host: Host) -> Target:
        _require_address(host)
        known = bool(self.trusted(host))
        if not known and self.strict_host_keys:
            raise HostKeyError(
                f"{host.name}: no trusted host key is known, and strict_host_keys is set; nothing was sent to it",
                host=host.name,
                hint="the console of a new EC2 instance shows its host keys after a while; try again",
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
            connect_timeout=max(10, round(self.answer.seconds)),
            extra=self._options,
        )

    def _proxy(self, host: Host) -> str | None:
        if self.proxy_jump == routes.NONE:
            return None
        if self.proxy_jump:
            return routes.jump_command(self.proxy_jump, key=self.key, known_hosts=self.known_hosts)
        endpoint = (host.address, host.port)
        if endpoint not in self._proxies:
            self._proxies[endpoint] = routes.find_proxy(host.address, port=host.port, username=self.username)
        return self._proxies[endpoint]

    def _socket(self, host: Host) -> Path:
        """Return the path of a host's socket; it is short, because some systems limit it to 104 bytes."""
        return self._find_folder() / hashlib.sha256(repr(host.place).encode()).hexdigest()[:12]

    def _find_folder(self) -> Path:
        """Return the folder of the sockets; it is created if there is none."""
        with self._lock:
            if self._folder is None:
                self._folder = Path(tempfile.mkdtemp(prefix="flambe-", dir="/tmp"))
            return self._folder


def _require_address(host: Host) -> None:
    if not host.address:
        raise HostConnectionError(f"{host.name}: the host has no address", host=host.name)
