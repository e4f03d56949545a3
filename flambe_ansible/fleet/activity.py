"""What the hosts do during long tasks of a playbook, read from them over their open connections."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Self

from flambe_ansible.events import Activity, Event, Observer, Status, StepEvent
from flambe_ansible.hosts import Host
from flambe_ansible.ssh import Connections, quote
from flambe_ansible.ssh.parallel import WORKERS
from flambe_ansible.ssh.processes import Processes

PROGRESS_FILE = "/run/flambe-ans/progress.json"  # the modules write it
WAITING = "waiting for the other hosts"
PATIENCE = 3.0  # seconds: shorter tasks are not reported
_TICK = 0.5
_MARK = "flambe-progress"
_LENGTH = 200
# Ends when its output is closed. One line: it passes through the user's login shell, which may be csh.
_SCRIPT = (
    f"while :; do line=; if [ -r {PROGRESS_FILE} ]; then read -r line <{PROGRESS_FILE};"
    f' line="$(date +%s) $line"; fi; echo "{_MARK} $line" || exit; sleep 2; done'
)
COMMAND = "exec " + quote(["/bin/sh", "-c", _SCRIPT])


class ActivityObserver:
    """An observer that passes on events, and reports what each host does in a task of more than three seconds.

    It follows the file that the modules write, with one command per host, which ends with this context, on at most
    ``WORKERS`` hosts. A host that does not answer is ignored.
    """

    def __init__(
        self,
        connections: Connections,
        hosts: Sequence[Host],
        observer: Observer,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._connections = connections
        self._hosts = hosts
        self._observer = observer
        self._clock = clock
        self._running: dict[str, float] = {}  # when the current task of a host started
        self._idle: dict[str, float] = {}  # when the latest task of a host ended
        self._followed: set[str] = set()
        self._lock = threading.RLock()
        self._stop = threading.Event()
        self._processes = Processes()
        self._thread = threading.Thread(target=self._work, name="flambe-activity", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc_value: BaseException | None, tb: TracebackType | None
    ) -> None:
        self._stop.set()
        self._processes.cancel()
        self._thread.join()

    def __call__(self, event: Event) -> None:
        """Pass on an event of the playbook."""
        with self._lock:
            if isinstance(event, StepEvent):
                self._note(event.host, runs=event.status is Status.RUNNING)
            elif isinstance(event, Activity):
                self._note(event.host, runs=False)
            self._observer(event)

    def _note(self, host: str, *, runs: bool) -> None:
        started, ended = (self._running, self._idle) if runs else (self._idle, self._running)
        ended.pop(host, None)
        started[host] = self._clock()

    def _work(self) -> None:
        workers = max(min(len(self._hosts), WORKERS), 1)
        with ThreadPoolExecutor(max_workers=workers, thread_name_prefix="flambe-activity") as pool:
            while not self._stop.wait(_TICK):
                for host in self._find_new():
                    pool.submit(self._follow, host)
                self._report_idle()

    def _find_new(self) -> list[Host]:
        """Return the hosts with a long task that are not followed yet."""
        with self._lock:
            late = self._clock() - PATIENCE
            found = [
                host
                for host in self._hosts
                if host.name not in self._followed and self._running.get(host.name, late) < late
            ]
            self._followed.update(host.name for host in found)
            return found

    def _report_idle(self) -> None:
        with self._lock:
            late = self._clock() - PATIENCE
            for host in [name for name, ended in self._idle.items() if ended < late and self._running]:
                self._report(host, WAITING)

    def _follow(self, host: Host) -> None:
        self._connections.follow(
            host, COMMAND, on_line=lambda line: self._receive(host.name, line), processes=self._processes
        )

    def _receive(self, host: str, line: str) -> None:
        with self._lock:
            started = self._running.get(host)
            if started is not None and not self._stop.is_set():
                self._report(host, read_text(line, seconds=self._clock() - started))

    def _report(self, host: str, text: str) -> None:
        with contextlib.suppress(Exception):  # if the observer is broken, the next event of the playbook ends it
            self._observer(Activity(host=host, text=text))


def read_text(line: str, *, seconds: float) -> str:
    """Read what a module does from a line of a host; "" if none runs, or if it was started before the current task.

    ``seconds`` is the duration of the current task.
    """
    mark, _, rest = line.partition(" ")
    now, _, document = rest.partition(" ")
    try:
        found = json.loads(document)
        age = int(now) - float(found["started"])
        text = str(found["text"])
    except (ValueError, KeyError, TypeError):
        return ""
    if mark != _MARK or age > seconds + 1:  # left behind by a module that was killed
        return ""
    return "".join(one for one in text if one.isprintable())[:_LENGTH]
