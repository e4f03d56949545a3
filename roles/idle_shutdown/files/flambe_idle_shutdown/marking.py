"""Record that this host is busy, or kept; a launch and its status run this on every host, so it imports little."""

from __future__ import annotations

import os
import time

from flambe_idle_shutdown import states


def record(settings, busy, *, boot, sample):
    """Derive the state from the last one, and save it; a postponement meanwhile is kept."""
    with states.locked(settings):
        clock = time.clock_gettime(time.CLOCK_BOOTTIME)
        before = states.load(settings)
        state = states.derive(settings, before, busy=busy, now=time.time(), clock=clock, boot=boot)
        state["sample"] = sample
        states.save(settings, state)
    return state


def keep(settings, seconds):
    """Do not power this host off within the next seconds; 0 ends this."""
    os.makedirs(settings.folder, mode=0o755, exist_ok=True)
    with states.locked(settings):
        now = time.time()
        state = states.load(settings)
        if not state:
            clock = time.clock_gettime(time.CLOCK_BOOTTIME)
            busy = [{"signal": "check", "reason": "this host was not checked yet"}]
            state = states.derive(settings, {}, busy=busy, now=now, clock=clock, boot=states.read_boot())
        state["kept"] = now + seconds if seconds > 0 else 0.0
        state["ends"] = states.find_end(state)
        states.save(settings, state)
    return state


def restart(settings):
    """Let the idle time start again: a launch has just ended."""
    os.makedirs(settings.folder, mode=0o755, exist_ok=True)
    busy = [{"signal": "launch", "reason": "a launch has just ended"}]
    sample = states.load(settings).get("sample")
    return record(settings, busy, boot=states.read_boot(), sample=sample)
