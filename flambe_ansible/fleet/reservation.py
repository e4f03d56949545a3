"""One cluster, one writer: the reservation of a cluster on its orchestrator.

A process on the orchestrator holds it, and ends with this process: when its standard input is closed, or if it receives
nothing for a minute. So a killed process, a closed laptop and a cut network end the reservation.
"""

from __future__ import annotations

import contextlib
import getpass
import json
import os
import re
import selectors
import shlex
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Self, TypeVar

from flambe_ansible.errors import ClusterBusyError, HostConnectionError, RemoteCommandError
from flambe_ansible.events import Notice, Observer, ignore
from flambe_ansible.fleet import holding
from flambe_ansible.fleet.access import Access
from flambe_ansible.hosts import Host, find_heads, sort_hosts
from flambe_ansible.ssh import Connections, Patience

T = TypeVar("T")

BEAT_SECONDS = 15.0
SILENCE_SECONDS = 60.0  # as long as ServerAliveInterval times ServerAliveCountMax of the connections
ANSWER_SECONDS = 60.0
POLL_SECONDS = 2.0  # between two attempts of a command that waits
NOTICE_SECONDS = 60.0
NOTHING_CHANGED = "; nothing was changed"
_NO_PYTHON = 127
_LONGEST = 100  # characters
_TIME = re.compile(r"\d{4}-[01]\d-[0-3]\dT[0-2]\d:[0-5]\d:[0-5]\dZ")
# The program comes by standard input. One line without characters that fish or tcsh would change in single quotes.
_START = (
    "for p in /usr/bin/python3 python3 python3.14 python3.13 python3.12 python3.11 python3.10 python3.9 python3.8; do"
    ' "$p" -c "import sys; sys.exit(sys.version_info < (3, 8))" >/dev/null 2>&1 </dev/null &&'
    ' exec "$p" -I -c "import sys; exec(sys.stdin.buffer.read({}))"; done; exit 127'
)


@dataclass(frozen=True, kw_only=True)
class Holder:
    """Who has reserved a cluster.

    Attributes:
        who: ``user@machine``, or "" if it is unknown.
        what: The command: ``launch``, ``submit``, ``stop`` or ``down``.
        since: The time (ISO 8601, UTC).
        origin: The address from which the holder connected to the orchestrator.
    """

    who: str = ""
    what: str = ""
    since: str = ""
    origin: str = ""

    def to_dict(self) -> dict[str, str]:
        """Return the documented JSON document."""
        return {"who": self.who, "what": self.what, "since": self.since, "from": self.origin}


@dataclass(frozen=True, kw_only=True)
class Waiting:
    """How a command waits for a cluster that another one has reserved.

    Attributes:
        limit: Seconds.
        observer: Receives a notice when the wait starts, and one a minute.
    """

    limit: float = 0.0
    observer: Observer = ignore

    def repeat(self, attempt: Callable[[], T]) -> T:
        """Repeat an attempt until it does not raise ``ClusterBusyError``, or until the limit has passed."""
        started, due = time.monotonic(), 0.0
        while True:
            try:
                return attempt()
            except ClusterBusyError as error:
                elapsed = time.monotonic() - started
                if error.state or elapsed >= self.limit:  # a job, which may run for days, is not waited for
                    raise
                if elapsed >= due:
                    minutes = f" (for {elapsed / 60:.0f} min so far)" if due else ""
                    reason = error.message.removesuffix(NOTHING_CHANGED)
                    self.observer(Notice(message=f"waiting{minutes}: {reason}"))
                    due = elapsed + NOTICE_SECONDS
            time.sleep(min(POLL_SECONDS, max(started + self.limit - time.monotonic(), 0.0)))


class Reservation:
    """The reservation of one cluster by this process; as a context manager it is released at the end of the block.

    Args:
        what: The command that reserves it.
        cluster: The cluster's name, for messages; an attribute too.
        waiting: How it waits while another process has reserved the cluster; an attribute too.

    Attributes:
        asked: The running orchestrator that was asked last, or None.
        unanswered: Why the orchestrator did not answer, or "".
        head: The orchestrator on which it was taken, or None.
        hosts: All hosts of the cluster as they were right before; empty if that is not known.
    """

    def __init__(self, what: str, *, cluster: str, waiting: Waiting = Waiting()) -> None:
        self.what = what
        self.cluster = cluster
        self.waiting = waiting
        self.asked: Host | None = None
        self.unanswered = ""
        self.head: Host | None = None
        self.hosts: Sequence[Host] = ()
        self._process: subprocess.Popen[bytes] | None = None
        self._released = threading.Event()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.release()

    @property
    def held(self) -> bool:
        """Whether it was taken."""
        return self._process is not None

    def take(self, connections: Connections, host: Host) -> None:
        """Reserve the cluster on its orchestrator; does nothing if it was taken already.

        Raises:
            ClusterBusyError: Another process holds the reservation, also after the wait; nothing was changed.
            UnsupportedHostError: The host has no Python 3.8 or later.
            HostConnectionError: The host did not answer.
        """
        if not self.held:
            self.waiting.repeat(lambda: self._take(connections, host))

    def _take(self, connections: Connections, host: Host) -> None:
        process, answer = self._start(connections, host)
        if answer is None:
            _end(process)
            connections.probe([host])  # waits for cloud-init, which may install Python, and checks the requirements
            process, answer = self._start(connections, host)
        if answer is None or not answer["held"]:
            _end(process)
            raise _no_answer(host, "no Python 3.8 or later", _NO_PYTHON) if answer is None else self._refuse(answer)
        self.head, self._process, self._released = host, process, threading.Event()
        beat = (process.stdin, self._released)
        threading.Thread(target=_beat, args=beat, name="flambe-reservation", daemon=True).start()

    def _start(self, connections: Connections, host: Host) -> tuple[subprocess.Popen[bytes], dict[str, Any] | None]:
        """Start the process on the host; return its client and its answer, None if the host has no Python."""
        holder = {"who": f"{getpass.getuser()}@{socket.gethostname()}", "what": self.what}
        program = _write_program(f"hold({holder!r}, {SILENCE_SECONDS})")
        process = connections.start(host, _command(program))
        try:
            return process, _ask(process, program, host)
        except BaseException:
            _end(process)
            raise

    @property
    def lost(self) -> bool:
        """Whether its process ended, so that another one may have reserved the cluster since."""
        return self._process is not None and self._process.poll() is not None

    def check(self) -> None:
        """Check that it is still held.

        Raises:
            HostConnectionError: It was lost; another process may have reserved the cluster since.
        """
        if self.head and self.lost:
            raise HostConnectionError(
                f"{self.head.name}: the reservation of cluster {self.cluster} was lost: the connection was cut, or"
                " this machine was suspended",
                host=self.head.name,
                hint="run this command again; it continues",
            )

    def release(self) -> None:
        """Release it; does nothing if it is not held."""
        self._released.set()
        if self._process is not None:
            _end(self._process)
            self._process = self.head = None
            self.hosts = ()

    def _refuse(self, answer: Mapping[str, Any]) -> ClusterBusyError:
        holder = _read_holder(answer["holder"] or {})
        who = f"{holder.who} ({holder.origin})" if holder.origin else holder.who
        return ClusterBusyError(
            f"cluster {self.cluster} is reserved by {who or 'another user'}: {holder.what or 'a command'} is running"
            f" there since {holder.since or 'just now'}{NOTHING_CHANGED}",
            hint="run this again with --wait; flambe-ans status CLUSTER shows who has reserved it",
        )


def _beat(stdin: IO[bytes], released: threading.Event) -> None:
    """Write to the process regularly; a dead connection is found by ``Reservation.check``."""
    with contextlib.suppress(OSError, ValueError):
        while not released.wait(BEAT_SECONDS):
            stdin.write(b"\n")
            stdin.flush()


def reserve_running(
    reservation: Reservation,
    hosts: Sequence[Host],
    access: Access,
    *,
    patience: Callable[[Host], Patience],
    observer: Observer,
) -> None:
    """Take a reservation on the running orchestrator, if there is one and it answers.

    Args:
        reservation: The reservation, which may have been taken early; its ``unanswered`` or its ``hosts`` are set.
        hosts: All hosts of the cluster.
        access: Their connections.
        patience: How long each host may take.
        observer: Receives the progress.

    Raises:
        ClusterBusyError: Another process has reserved the cluster.
    """
    running = find_heads(hosts)
    if reservation.asked and [head.place for head in running] == [reservation.asked.place] and not reservation.lost:
        reservation.hosts = sort_hosts(hosts) if reservation.held else ()
        return
    reservation.release()
    reservation.asked, reservation.unanswered = next(iter(running), None), ""
    if len(running) > 1:
        reservation.unanswered = f"cluster {reservation.cluster} has {len(running)} orchestrators"
        return
    try:
        access.open(running, patience=patience, observer=observer)
    except HostConnectionError as error:  # a launch waits for it, and takes the reservation then
        reservation.unanswered = error.message
        return
    for head in running:
        reservation.take(access.connections, head)
        reservation.hosts = sort_hosts(hosts)


def find_holder(connections: Connections, host: Host) -> Holder | None:
    """Return who has reserved the cluster of this orchestrator; None if nobody has.

    Raises:
        RemoteCommandError: The host gave no answer within the limit for answers.
        HostConnectionError: The host cannot be reached.
    """
    program = _write_program("show()")
    done = connections.ask(host, _command(program), input=program, check=False, about="the reservation")
    if done.returncode == _NO_PYTHON:  # without Python there is no reservation
        return None
    answer = _find_answer(done.stdout)
    if answer is None:
        raise _no_answer(host, done.stdout + done.stderr, done.returncode)
    return None if answer["holder"] is None else _read_holder(answer["holder"])


def _write_program(call: str) -> bytes:
    return (Path(holding.__file__).read_text() + f"\n{call}\n").encode()


def _command(program: bytes) -> str:
    return "exec /bin/sh -c " + shlex.quote(_START.format(len(program)))


def _ask(process: subprocess.Popen[bytes], program: bytes, host: Host) -> dict[str, Any] | None:
    """Send the program and return its answer; None if the host has no Python."""
    assert process.stdin is not None and process.stdout is not None  # noqa: S101 - they are pipes
    with contextlib.suppress(BrokenPipeError):
        process.stdin.write(program)
        process.stdin.flush()
    printed, deadline = b"", time.monotonic() + ANSWER_SECONDS
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while (answer := _find_answer(printed.decode(errors="replace"))) is None:
            if not selector.select(max(deadline - time.monotonic(), 0)):
                message = f"{host.name}: no answer within {ANSWER_SECONDS:g} s about the reservation of the cluster"
                raise HostConnectionError(message, host=host.name)
            chunk = os.read(process.stdout.fileno(), 65536)
            if not chunk:
                code = process.wait()
                if code == _NO_PYTHON:
                    return None
                raise _no_answer(host, printed.decode(errors="replace"), code)
            printed += chunk
    return answer


def _find_answer(printed: str) -> dict[str, Any] | None:
    """Return the answer of the program; what a login profile prints before it is ignored."""
    _, mark, rest = printed.partition(holding.MARK)
    line, newline, _ = rest.partition("\n")
    if not (mark and newline):
        return None
    answer: dict[str, Any] = json.loads(line)
    return answer


def _no_answer(host: Host, output: str, code: int) -> RemoteCommandError:
    last = output.strip().rpartition("\n")[2]
    return RemoteCommandError(
        f"{host.name}: the reservation of the cluster could not be read or taken: {last or f'exit code {code}'}",
        host=host.name,
        command="python3",
        returncode=code,
        output=output,
    )


def _read_holder(document: Mapping[str, Any]) -> Holder:
    """Read the holder; every user of the host can write to its file, so only plain text is accepted."""

    def read(name: str) -> str:
        text = str(document.get(name, ""))
        return text if text.isprintable() and len(text) <= _LONGEST else ""

    since = read("since")
    return Holder(
        who=read("who"), what=read("what"), since=since if _TIME.fullmatch(since) else "", origin=read("from")
    )


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the client; the process on the host ends with its standard input."""
    for pipe in (process.stdin, process.stdout):
        if pipe:
            with contextlib.suppress(OSError):
                pipe.close()
    process.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(5)
