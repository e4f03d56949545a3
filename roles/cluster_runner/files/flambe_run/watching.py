"""Watch the hosts while a job runs, report lost hosts, and decide when the job has to end."""

from __future__ import annotations

import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import progress
import refreshing
from settings import write_time

_ALL_LOST_SECONDS = 60
# flambe stops Ray at its end and then still copies results: an absent head counts only after this time.
_HEAD_SECONDS = 180
_SSH_PORT = 22
_AT_ONCE = 32  # hosts that are checked at the same time


class Watch(threading.Thread):
    """Check the nodes of Ray periodically; ``verdict`` is why the job has to be ended, or "".

    ``notify`` receives messages, one line each; ``changed`` the lost hosts, a list of documents, on every change.
    """

    def __init__(self, settings, spec, notify, changed):
        super().__init__(daemon=True)
        self.verdict = ""
        self._settings = settings
        self._hosts = spec["hosts"]["workers"]
        self._save_path = spec.get("save_path", "")
        self._notify = notify
        self._changed = changed
        self._missed = {}
        self._lost = {}
        self._head_away = None
        self._stop = threading.Event()

    def end(self):
        """Stop watching."""
        self._stop.set()

    def run(self):
        """Watch until there is a verdict or the job has ended."""
        while not self.verdict and not self._stop.wait(self._settings.watch_interval):
            alive, error = refreshing.read_nodes(self._settings)
            if self._stop.is_set():
                return
            self.evaluate(alive, error, time.time())

    def evaluate(self, alive, error, clock):
        """Evaluate one answer of Ray: the addresses of live nodes, or the error; ``clock``: seconds since the epoch."""
        if error:
            self._head_away = self._head_away or clock
            if clock - self._head_away > _HEAD_SECONDS:
                self.verdict = f"the head of Ray on the orchestrator does not answer: {error}"
            return
        self._head_away = None
        for host in self._hosts:
            if host["address"] in alive:
                self._find(host)
        self._miss([host for host in self._hosts if host["address"] not in alive], clock)
        if self._lost:
            self.verdict = self._find_reason(clock)

    def conclude(self):
        """Check the hosts after the job has failed; return the names of the lost hosts.

        flambe stops Ray before it ends: if Ray does not answer, the hosts are checked directly.
        """
        self.end()
        alive, error = refreshing.read_nodes(self._settings)
        known = [host for host in self._hosts if host["name"] not in self._lost]
        if error:
            gone = [host for host, silence in zip(known, on_each(known, find_silence)) if silence]
        else:
            gone = [host for host in known if host["address"] not in alive]
        now = time.time()
        self._lose({host["name"]: self._missed.get(host["name"], now) for host in gone}, gone)
        return list(self._lost)

    def _miss(self, hosts, clock):
        """Record hosts that are not alive; after two misses in a row they are lost."""
        first = {host["name"]: self._missed.setdefault(host["name"], clock) for host in hosts}
        self._lose(first, [one for one in hosts if first[one["name"]] != clock and one["name"] not in self._lost])

    def _lose(self, since, hosts):
        """Mark hosts as lost; ``since`` is the time of each, by name."""
        for host, reason in zip(hosts, on_each(hosts, explain)):
            name, address = host["name"], host["address"]
            self._lost[name] = {"name": name, "address": address, "since": write_time(since[name]), "reason": reason}
            self._missed[name] = since[name]
            self._notify(f"{name} ({address}) is lost: {reason}")
        if hosts:
            self._changed(list(self._lost.values()))

    def _find(self, host):
        """Mark a host as alive."""
        self._missed.pop(host["name"], None)
        if self._lost.pop(host["name"], None):
            self._notify("{} is back".format(host["name"]))
            self._changed(list(self._lost.values()))

    def _find_reason(self, clock):
        """Return why the job has to be ended, or ""."""
        names = ", ".join(self._lost)
        since = max(self._missed[name] for name in self._lost)
        if len(self._lost) == len(self._hosts) and clock - since > _ALL_LOST_SECONDS:
            return f"all factories are lost: {names}"
        still = clock - max(since, progress.last_change(self._save_path) if self._save_path else 0)
        if still > self._settings.lost_timeout:
            return f"no progress for {still:.0f} s after {names} was lost"
        return ""


def on_each(hosts, work):
    """Call a function for several hosts at the same time, and return its results in their order."""
    with ThreadPoolExecutor(max_workers=max(min(len(hosts), _AT_ONCE), 1)) as pool:
        return list(pool.map(work, hosts))


def explain(host):
    """Return why a host is not alive in Ray."""
    silence = find_silence(host)
    return f"the host does not answer ({silence})" if silence else "Ray on it has ended; the host still answers"


def find_silence(host):
    """Return why a host does not answer, or ""."""
    try:
        socket.create_connection((host["address"], host.get("port") or _SSH_PORT), 5).close()
    except OSError as error:
        return error.strerror or str(error)
    return ""
