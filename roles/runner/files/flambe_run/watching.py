"""Look at the hosts while a run is under way, tell of those that are lost, and say when waiting has no point."""

from __future__ import annotations

import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import progress
import refreshing
from settings import write_time

_ALL_LOST_SECONDS = 60
# flambe stops Ray at its end and then still copies; only a head that stays away is one that died.
_HEAD_SECONDS = 180
_SSH_PORT = 22


class Watch(threading.Thread):
    """Asks Ray for its nodes every now and then.

    Args:
        settings: The role's settings.
        spec: What is run: ``hosts`` and ``save_path``.
        tell: Hears what happens, a line each.
        changed: Hears the hosts that are lost now, a list of documents, whenever that changes.

    Attributes:
        verdict: Why the run should be ended, or "".
    """

    def __init__(self, settings, spec, tell, changed):
        super().__init__(daemon=True)
        self.verdict = ""
        self._settings = settings
        self._hosts = spec["hosts"]["workers"]
        self._save_path = spec.get("save_path", "")
        self._tell = tell
        self._changed = changed
        self._missed = {}
        self._lost = {}
        self._head_away = None
        self._stop = threading.Event()

    def end(self):
        """Look no more."""
        self._stop.set()

    def run(self):
        """Look until there is a verdict or the run has ended."""
        while not self.verdict and not self._stop.wait(self._settings.watch_interval):
            alive, error = refreshing.ask(self._settings)
            if self._stop.is_set():
                return
            self.look(alive, error, time.time())

    def look(self, alive, error, clock):
        """Take in one answer of Ray's.

        Args:
            alive: The addresses that Ray calls alive.
            error: Why there was no answer, or "".
            clock: Seconds of the epoch.
        """
        if error:
            self._head_away = self._head_away or clock
            if clock - self._head_away > _HEAD_SECONDS:
                self.verdict = f"Ray's head on the orchestrator does not answer: {error}"
            return
        self._head_away = None
        for host in self._hosts:
            if host["address"] in alive:
                self._find(host)
            else:
                self._miss(host, clock)
        if self._lost:
            self.verdict = self._judge(clock)

    def conclude(self):
        """Look a last time, after the run has failed by itself; returns the names of the hosts that are lost.

        flambe stops Ray before it ends: where Ray does not answer, the hosts themselves are asked.
        """
        self.end()
        alive, error = refreshing.ask(self._settings)
        known = [host for host in self._hosts if host["name"] not in self._lost]
        if error:
            with ThreadPoolExecutor(max_workers=max(len(known), 1)) as pool:
                gone = [host for host, silence in zip(known, pool.map(find_silence, known)) if silence]
        else:
            gone = [host for host in known if host["address"] not in alive]
        for host in gone:
            self._lose(host, self._missed.get(host["name"], time.time()))
        return list(self._lost)

    def _miss(self, host, clock):
        """Count a host that is not alive; the second time in a row it is lost."""
        first = self._missed.setdefault(host["name"], clock)
        if first != clock and host["name"] not in self._lost:
            self._lose(host, first)

    def _lose(self, host, since):
        """Take a host for lost."""
        what = explain(host)
        document = {"name": host["name"], "address": host["address"], "since": write_time(since), "reason": what}
        self._lost[host["name"]] = document
        self._missed[host["name"]] = since
        self._tell("{} ({}) is lost: {}".format(host["name"], host["address"], what))
        self._changed(list(self._lost.values()))

    def _find(self, host):
        """Take a host back that is alive."""
        self._missed.pop(host["name"], None)
        if self._lost.pop(host["name"], None):
            self._tell("{} is back".format(host["name"]))
            self._changed(list(self._lost.values()))

    def _judge(self, clock):
        """Say why the run should be ended, or empty."""
        names = ", ".join(self._lost)
        since = max(self._missed[name] for name in self._lost)
        if len(self._lost) == len(self._hosts) and clock - since > _ALL_LOST_SECONDS:
            return f"no factory is left: {names} lost"
        still = clock - max(since, progress.last_change(self._save_path) if self._save_path else 0)
        if still > self._settings.lost_timeout:
            return f"no progress for {still:.0f} s after {names} was lost"
        return ""


def explain(host):
    """Say what a host is that Ray does not call alive."""
    silence = find_silence(host)
    return f"the host does not answer ({silence})" if silence else "Ray on it has ended, the host still answers"


def find_silence(host):
    """Say why a host does not answer, or empty."""
    try:
        socket.create_connection((host["address"], host.get("port") or _SSH_PORT), 5).close()
    except OSError as error:
        return error.strerror or str(error)
    return ""
