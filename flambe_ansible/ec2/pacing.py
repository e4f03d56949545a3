"""The rate of calls to an API that limits it."""

from __future__ import annotations

import threading
import time
from collections import deque


class Pace:
    """At most so many calls in a number of seconds, counted over all threads of this process."""

    def __init__(self, calls: int, *, seconds: float = 1.0) -> None:
        self._calls: deque[float] = deque(maxlen=calls)
        self._seconds = seconds
        self._lock = threading.Lock()

    def wait(self) -> None:
        """Wait until another call is within the rate."""
        with self._lock:
            if len(self._calls) == self._calls.maxlen:
                time.sleep(max(0.0, self._calls[0] + self._seconds - time.monotonic()))
            self._calls.append(time.monotonic())
