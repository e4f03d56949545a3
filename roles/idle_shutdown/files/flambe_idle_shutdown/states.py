"""The state of the idle shutdown on this host: since when it is idle, and when it ends."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import time

from flambe_idle_shutdown.settings import clean

NEVER = -1
_FILE = "state.json"
_TIMES = {
    "checked": "checked",
    "idle_since": "idle_since",
    "kept_until": "kept",
    "ends": "ends",
    "latest_end": "ends_at",
}


def read_boot():
    """Return the id of this boot of the host; in a container the kernel's id stays, and that of its PID 1 does not."""
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        return f"{file.read().strip()} {_read_first_tick()}"


def read_start():
    """Return when PID 1 of this host was started, in seconds since the epoch."""
    age = time.clock_gettime(time.CLOCK_BOOTTIME) - _read_first_tick() / os.sysconf("SC_CLK_TCK")
    return time.time() - age


def _read_first_tick():
    """Return when PID 1 was started, in ticks since the kernel's start."""
    with open("/proc/1/stat", encoding="utf-8", errors="replace") as file:
        return int(file.read().rpartition(")")[2].split()[19])


def derive(settings, before, *, busy, now, clock, boot):
    """Return the state after a check.

    Args:
        settings: The role's settings.
        before: The state after the previous check; {} if there is none. If it is of another boot, only its
            postponement counts.
        busy: Reasons, each a mapping of ``signal`` and ``reason``; none for an idle host.
        now: The time, in seconds since the epoch.
        clock: Seconds since the boot.
        boot: The id of this boot.
    """
    kept = before.get("kept", 0.0)
    began = before.get("idle_clock") if before.get("boot") == boot else None
    if busy:
        began = None
    elif began is None or began > clock:
        began = clock
    state = {
        "boot": boot,
        "checked": now,
        "interval": settings.interval,
        "timeout": settings.timeout,
        "ends_at": settings.ends_at,
        "busy": busy,
        "idle_clock": began,
        "idle_since": None if began is None else now - (clock - began),
        "silent_clock": None if began is None else before.get("silent_clock"),
        "kept": kept if kept > now else 0.0,
        "sample": before.get("sample") if before.get("boot") == boot else None,
    }
    return {**state, "ends": find_end(state)}


def find_end(state):
    """Return when a host ends by what is known now, in seconds since the epoch; None for never."""
    ends = [end for end in (find_idle_end(state), state.get("ends_at")) if end is not None]
    return min(ends) if ends else None


def find_idle_end(state):
    """Return when the idle time of a host is over; None if it is busy or never ends itself when it is idle."""
    if state["idle_since"] is None or state["timeout"] == NEVER:
        return None
    return max(state["idle_since"] + state["timeout"], state["kept"])


def publish(state):
    """Return the state as a document for other programs; times as ISO 8601 (UTC), "" for none."""
    busy = [{"signal": one["signal"], "reason": clean(one["reason"])} for one in state.get("busy", ())]
    return {
        "age": max(round(time.time() - state["checked"], 1), 0.0) if state else None,
        "interval": state.get("interval", 0),
        "timeout": state.get("timeout", NEVER),
        "busy": busy,
        **{name: write_time(state.get(key)) for name, key in _TIMES.items()},
    }


def write_time(seconds):
    """Format seconds since the epoch as ISO 8601, UTC; "" for none."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds)) if seconds else ""


def load(settings):
    """Read the state; {} if there is none, or if it is malformed."""
    try:
        with open(_path(settings), encoding="utf-8") as file:
            state = json.load(file)
        return state if _is_valid(state) else {}
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return {}


def _is_valid(state):
    """Return whether a state has all values, in their types."""
    sample = state["sample"] or {"clock": 0, "used": 0, "own": 0}
    needed = [state[name] for name in ("checked", "interval", "timeout", "kept")]
    needed += [sample[name] for name in ("clock", "used", "own")]
    optional = [state[name] for name in ("idle_clock", "idle_since", "silent_clock", "ends")]
    optional.append(state.get("ends_at"))  # which older versions did not write
    texts = [state["boot"], *(one[name] for one in state["busy"] for name in ("signal", "reason"))]
    numbers = needed + [one for one in optional if one is not None]
    return all(isinstance(one, (int, float)) for one in numbers) and all(isinstance(one, str) for one in texts)


def save(settings, state):
    """Write the state atomically; all users can read it."""
    draft = os.path.join(settings.folder, f".new-{os.getpid()}")  # the folder is root's
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        json.dump(state, file)
        os.fchmod(file.fileno(), 0o644)
    os.replace(draft, _path(settings))


@contextlib.contextmanager
def locked(settings):
    """Hold the lock of the state; wait for it."""
    descriptor = os.open(os.path.join(settings.folder, ".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _path(settings):
    return os.path.join(settings.folder, _FILE)
