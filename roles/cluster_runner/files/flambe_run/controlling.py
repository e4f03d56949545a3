"""Start a job, stop it, and report its state."""

from __future__ import annotations

import os
import sys
import time
import uuid

import progress
import refreshing
import units
from settings import now, read_boot

_SETTLE_SECONDS = 400
_BEGIN_SECONDS = 5
_OVER = ("succeeded", "failed", "stopped", "replaced")


class ControlError(Exception):
    """A command failed; ``facts`` are added to the document with the message."""

    def __init__(self, message, **facts):
        super().__init__(message)
        self.facts = facts


def describe(settings):
    """Return the state of the last job; ``state`` is ``none`` if there was none.

    ``active`` means that the job is running, ``settling`` that it is starting or ending, or that the hosts are being
    prepared for the next one.
    """
    state = settings.load("state")
    if not state:
        return {"state": "none", "active": False, "settling": False}
    unit = units.show(settings.unit)
    active = unit.get("ActiveState", "")
    over, idle = state.get("state") in _OVER, units.has_ended(unit)
    runs = active in units.ALIVE and not over
    document = {**state, "active": runs, "settling": not runs and not idle}
    if not over and idle:
        document.update(state="failed", reason=_explain_end(state))
    stages = progress.read_stages(state["save_path"]) if state.get("save_path") else {}
    document.update(stage=progress.find_stage(stages), stages=stages)
    return document


def start(settings, spec):
    """Start a job; it continues after this process and the login end.

    ``spec``: ``name``, ``command`` (words), ``directory``, ``log`` (in the directory), ``save_path`` (of its results,
    or ""), ``hosts`` (see ``refreshing.restart``), ``environment``.
    """
    with settings.locked("start"):
        found = wait(settings, active_too=False)
        if found["active"]:
            raise ControlError("a job is running", busy=True, run=found)
        settings.forget("request")
        settings.save("spec", spec)
        state = {
            "id": uuid.uuid4().hex,
            "name": spec["name"],
            "state": "queued",
            "queued": now(),
            **dict.fromkeys(("since", "until", "exit_code")),
            "reason": "",
            "lost": [],
            "save_path": spec.get("save_path", ""),
            "log": os.path.join(spec["directory"], spec["log"]),
        }
        settings.save("state", state)
        head = units.show(settings.ray_unit).get("InvocationID", "")
        settings.save("ray", {"used": head, "hosts": spec["hosts"]})
        units.call("reset-failed", settings.unit)
        problem = units.call("start", settings.unit)
        if problem:
            settings.update(state="failed", until=now(), reason=problem)
            raise ControlError(f"{settings.unit} could not be started: {problem}")
    end = time.monotonic() + _BEGIN_SECONDS
    while settings.load("state").get("state") == "queued" and time.monotonic() < end:
        time.sleep(0.1)
    return describe(settings)


def stop(settings, replaced=False):
    """Stop the job; return when all hosts are ready for the next one."""
    found = describe(settings)
    if found["active"]:
        what = {"state": "replaced", "reason": "another job was started"} if replaced else {"state": "stopped"}
        settings.save("request", {"reason": "stopped by the user", **what})
    if found["active"] or found["settling"]:
        problem = units.call("stop", settings.unit)
        if problem:
            raise ControlError(f"{settings.unit} could not be stopped: {problem}")
    return {**describe(settings), "was_active": found["active"]}


def wait(settings, active_too=True):
    """Wait until the hosts are ready after a job; ``active_too``: also until the job ends."""
    end = None
    while True:
        found = describe(settings)
        if found["settling"]:
            end = end or time.monotonic() + _SETTLE_SECONDS
            if time.monotonic() > end:
                raise ControlError(f"the hosts are not ready {_SETTLE_SECONDS} s after the last job", run=found)
        elif not (active_too and found["active"]):
            return found
        time.sleep(0.5)


def refresh(settings, hosts, always=False):
    """Restart Ray if a job has used it; return whether it was restarted, and the hosts that are not ready."""
    used = settings.load("ray").get("used", "")
    head = units.show(settings.ray_unit)
    if not always and head.get("ActiveState") == "active" and head.get("InvocationID") != used:
        return {"restarted": False, "failed": {}}
    return {"restarted": True, "failed": refreshing.restart(settings, hosts, _print)}


def settle(settings):
    """Record how the job ended if it could not do so itself, and prepare all hosts for the next one."""
    state = settings.load("state")
    if state and state.get("state") not in _OVER:
        result = os.environ.get("SERVICE_RESULT", "unknown")
        settings.update(state="failed", until=now(), reason=f"its process was killed ({result})")
    hosts = settings.load("ray").get("hosts")
    failed = refreshing.restart(settings, hosts, _print) if hosts else {}
    settings.update(not_ready=failed)
    _print("all hosts are ready for the next job" if not failed else "not ready: " + ", ".join(failed))
    return {"failed": failed}


def _print(line):
    """Print a line to stderr; stdout is for the document."""
    print(f"flambe-run: {line}", file=sys.stderr, flush=True)


def _explain_end(state):
    """Return why a job ended that recorded no end."""
    booted = state.get("boot") and read_boot() not in ("", state["boot"])
    return "the orchestrator was rebooted while it ran" if booted else "its unit ended without recording a result"
