"""Start a run, end it, and say how it stands."""

from __future__ import annotations

import os
import sys
import time
import uuid

import progress
import refreshing
import units
from settings import now

_SETTLE_SECONDS = 400
_BEGIN_SECONDS = 5
_OVER = ("succeeded", "failed", "stopped", "replaced")


class ControlError(Exception):
    """It cannot be done; ``facts`` go into the answer beside the message."""

    def __init__(self, message, **facts):
        super().__init__(message)
        self.facts = facts


def describe(settings):
    """Say how the last run stands; ``state`` is ``none`` where there was none.

    ``active`` says whether the run itself is under way, ``settling`` whether the hosts are still made ready after it.
    """
    state = settings.load("state")
    if not state:
        return {"state": "none", "active": False, "settling": False}
    active = units.show(settings.unit).get("ActiveState", "")
    over = state.get("state") in _OVER
    document = {**state, "active": active in units.ALIVE and not over, "settling": over and active in _not_idle()}
    if not over and active not in _not_idle():
        document.update(state="failed", **_explain_end(state))
    stages = progress.read_stages(state["save_path"]) if state.get("save_path") else {}
    document.update(stage=progress.find_stage(stages), stages=stages)
    return document


def start(settings, spec):
    """Start a run; it goes on when this process, or the login, has ended.

    Args:
        settings: The role's settings.
        spec: ``name``, ``command`` (words), ``directory``, ``log`` (in the directory), ``save_path`` (of its results,
            or ""), ``hosts`` (as ``refreshing.restart`` takes them), ``environment``.

    Raises:
        ControlError: One is under way, or systemd refuses.
    """
    with settings.locked("start"):
        found = wait(settings, active_too=False)
        if found["active"]:
            raise ControlError("a run is under way", busy=True, run=found)
        settings.forget("request")
        settings.save("spec", spec)
        settings.save(
            "state",
            {
                "id": uuid.uuid4().hex,
                "name": spec["name"],
                "state": "queued",
                "queued": now(),
                "since": None,
                "until": None,
                "exit_code": None,
                "reason": "",
                "lost": [],
                "save_path": spec.get("save_path", ""),
                "log": os.path.join(spec["directory"], spec["log"]),
            },
        )
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
    """End the run; returns once all hosts are ready for the next."""
    found = describe(settings)
    if found["active"]:
        what = {"state": "replaced", "reason": "another run took its place"} if replaced else {"state": "stopped"}
        settings.save("request", {"reason": "stopped by its user", **what})
    if found["active"] or found["settling"]:
        problem = units.call("stop", settings.unit)
        if problem:
            raise ControlError(f"{settings.unit} could not be stopped: {problem}")
    return {**describe(settings), "was_active": found["active"]}


def wait(settings, active_too=True):
    """Wait until the hosts are ready after a run; ``active_too``: for the run itself as well."""
    end = None
    while True:
        found = describe(settings)
        if found["settling"]:
            end = end or time.monotonic() + _SETTLE_SECONDS
            if time.monotonic() > end:
                raise ControlError("the hosts are still not ready after the last run", run=found)
        elif not (active_too and found["active"]):
            return found
        time.sleep(0.5)


def refresh(settings, hosts, always=False):
    """Start Ray afresh where a run has used it; returns whether it was, and the hosts that are not ready."""
    used = settings.load("ray").get("used", "")
    head = units.show(settings.ray_unit)
    if not always and head.get("ActiveState") == "active" and head.get("InvocationID") != used:
        return {"restarted": False, "failed": {}}
    return {"restarted": True, "failed": refreshing.restart(settings, hosts, _say)}


def settle(settings):
    """Write down how the run ended where it could not do so itself, and make all hosts ready for the next."""
    state = settings.load("state")
    if state and state.get("state") not in _OVER:
        result = os.environ.get("SERVICE_RESULT", "unknown")
        settings.update(state="failed", until=now(), reason=f"its process was ended from outside ({result})")
    hosts = settings.load("ray").get("hosts")
    failed = refreshing.restart(settings, hosts, _say) if hosts else {}
    settings.update(not_ready=failed)
    _say("all hosts are ready for the next run" if not failed else "not ready: " + ", ".join(failed))
    return {"failed": failed}


def _say(line):
    """Tell people, beside the document on stdout."""
    sys.stderr.write(f"flambe-run: {line}\n")
    sys.stderr.flush()


def _not_idle():
    return (*units.ALIVE, "deactivating")


def _explain_end(state):
    """Say why a run is over of which nobody wrote down how it ended."""
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            booted = state.get("boot") not in (None, "", file.read().strip())
    except OSError:
        booted = False
    what = "the orchestrator was restarted while it ran" if booted else "its unit is gone, without a word"
    return {"reason": what}
