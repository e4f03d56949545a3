"""The rate of calls to an API that limits it."""

from __future__ import annotations

import threading
import time
from collections import deque


class Pace:
    """At most so many calls per second, counted over all threads of this process."""

    def __init__(self, per_second: int) -> None:
        self._calls: deque[float] = deque(maxlen=per_second)
        self._lock = threading.Lock()

    def wait(self) -> None:
        """Wait until another call is within the rate."""
        with self._lock:
            if len(self._calls) == self._calls.maxlen:
                time.sleep(max(0.0, self._calls[0] + 1.0 - time.monotonic()))
            self._calls.append(time.monotonic())
