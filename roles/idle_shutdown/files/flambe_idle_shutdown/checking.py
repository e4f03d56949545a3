"""One check of this host: read all signals, record the result, power the host off if it was idle for long enough."""

from __future__ import annotations

import os
import sys
import time

from flambe_idle_shutdown import processes, signals, states, usage
from flambe_idle_shutdown.marking import record
from flambe_idle_shutdown.settings import SignalError, clean, run

_RESTARTED_SECONDS = 900  # of a host that is started after its latest end
_MARGIN = 2  # times the threshold of the alarm
_MALFORMED = (SignalError, OSError, ValueError, KeyError, TypeError, IndexError, AttributeError)


def check(settings):
    """Check this host once; return the state."""
    os.makedirs(settings.folder, mode=0o755, exist_ok=True)
    before, boot = states.load(settings), states.read_boot()
    if is_latest_end_over(settings):
        power_off(f"ends at {states.write_time(settings.ends_at)}, also if it is busy")
        return before
    sample = before.get("sample") if before.get("boot") == boot else None
    running = processes.read_all()
    now, spent = usage.measure(running), read_own_cpu()
    busy, young = find_reasons(settings, running, sample, now)
    state = record(settings, busy, boot=boot, sample=now)
    if is_over(state) and not young:
        state = confirm(settings, state)
    hold_off(settings, state, sample, now)
    note_own_cpu(settings, read_own_cpu() - spent)
    return state


def find_reasons(settings, running, sample, now):
    """Return what keeps this host busy, and the logins that are too young to count."""
    logins, young = signals.find_logins(running)
    sources = (
        ("job", lambda: signals.find_jobs(settings)),
        ("ray", lambda: signals.find_ray_jobs(settings)),
        ("ray", lambda: signals.find_ray_work(running)),
        ("launch", lambda: signals.find_launch(settings)),
        ("ssh", lambda: logins),
        ("cpu", lambda: usage.find_cpu(settings, sample, now)),
        ("gpu", lambda: usage.find_gpus(settings)),
        ("command", lambda: signals.ask_command(settings)),
    )
    return [reason for name, find in sources for reason in read(name, find)], young


def read(name, find):
    """Read one signal; one that is missing, malformed or late is a reason itself."""
    try:
        return [{"signal": name, "reason": clean(text)} for text in find()]
    except _MALFORMED as error:
        return [{"signal": name, "reason": describe_error(error)}]


def is_over(state):
    """Return whether the idle time is over."""
    end = states.find_idle_end(state)
    return end is not None and time.time() >= end


def confirm(settings, state):
    """Power this host off, unless a job runs on the cluster by the orchestrator's last check.

    An orchestrator that does not answer is waited for; it may have ended itself.
    """
    clock = time.clock_gettime(time.CLOCK_BOOTTIME)
    try:
        reasons = signals.ask_head(settings)
    except _MALFORMED as error:
        state["silent_clock"] = state["silent_clock"] or clock
        if clock - state["silent_clock"] < settings.patience:
            return wait_for_orchestrator(settings, state, error)
    else:
        if reasons:
            sys.stderr.write(f"idle, and stays: {reasons[0]}\n")
            busy = [{"signal": "cluster", "reason": clean(text)} for text in reasons]
            return record(settings, busy, boot=state["boot"], sample=state["sample"])
    if states.load(settings).get("kept", 0.0) > time.time():  # it was postponed meanwhile
        return state
    power_off(f"idle since {states.write_time(state['idle_since'])}")
    return state


def is_latest_end_over(settings):
    """Return whether this host ends even if it is busy; a host that is started after that time has some minutes.

    Within them, the launch that started it sets a later time.
    """
    now = time.time()
    if settings.ends_at is None or now < settings.ends_at:
        return False
    started = states.read_start()
    return started < settings.ends_at or now - started >= _RESTARTED_SECONDS


def power_off(reason):
    """Power this host off."""
    sys.stderr.write(f"{reason}; powering off\n")
    code, output, errors = run(["systemctl", "poweroff"])
    if code:
        sys.stderr.write(f"systemctl poweroff: {errors or output or code}\n")


def wait_for_orchestrator(settings, state, error):
    """Record that the orchestrator gives no answer; the idle time goes on."""
    state["busy"] = [{"signal": "cluster", "reason": describe_error(error)}]
    clock = time.clock_gettime(time.CLOCK_BOOTTIME)
    state["ends"] = time.time() + settings.patience - (clock - state["silent_clock"])
    with states.locked(settings):
        states.save(settings, {**state, "kept": states.load(settings).get("kept", 0.0)})
    return state


def describe_error(error):
    """Return the reason that a signal cannot be read."""
    return clean(error if isinstance(error, SignalError) else f"malformed answer: {error!r}")


def hold_off(settings, state, before, now):
    """On a busy or kept host, use enough CPU to stay above the threshold of the idle alarm, which measures CPU use."""
    has_alarm = settings.alarm_percent and settings.timeout != states.NEVER
    if not (has_alarm and (state["busy"] or state["kept"])):
        return
    try:
        used = usage.read_cpu(before, now, interval=settings.interval) / 100 * settings.interval
    except SignalError:
        used = 0.0
    wanted = _MARGIN * settings.alarm_percent / 100 * (os.cpu_count() or 1) * settings.interval
    end = time.process_time() + min(wanted - used, settings.interval / 2)
    os.nice(19)
    while time.process_time() < end:
        pass


def read_own_cpu():
    """Return how many seconds of CPU this process and its children have used."""
    return sum(os.times()[:4])


def note_own_cpu(settings, seconds):
    """Record the CPU use of this check, so that the next one leaves it out."""
    with states.locked(settings):
        state = states.load(settings)
        state["sample"]["own"] = seconds
        states.save(settings, state)
