"""The faults of one lab: a file in its folder, changed by requests to its API, and read by the gate and the fleet."""

from __future__ import annotations

import difflib
import json
import threading
from collections.abc import Mapping
from dataclasses import replace
from fnmatch import fnmatchcase
from typing import Any

from flambe_ansible.errors import LabUsageError
from flambe_ansible.files import write_json
from flambe_ansible.lab import calls, state
from flambe_ansible.lab.answers import Answer, RefusedError
from flambe_ansible.lab.fault_kinds import Fault, Target, make_fault
from flambe_ansible.lab.state import Settings

SERVICE = "flambe-lab"  # the name that requests about faults are signed for
WRONG = "ValidationException"  # the code of the answer to a fault that cannot be added
FILE = "faults.json"

# The errors by the signing name of the service; JSON services have another one.
_THROTTLED = {"ec2": ("RequestLimitExceeded", 503), "monitoring": ("Throttling", 400), "sts": ("Throttling", 400)}
_THROTTLED |= {"iam": ("Throttling", 400)}
_EXPIRED = {"ec2": ("RequestExpired", 400), "monitoring": ("ExpiredToken", 403), "sts": ("ExpiredToken", 403)}
_EXPIRED |= {"iam": ("ExpiredToken", 403)}
NO_CAPACITY = (
    "We currently do not have sufficient {kind} capacity in the Availability Zone you requested ({zone}). Our system "
    "will be working on provisioning additional capacity."
)


class Faults:
    """The faults of a lab, in the order in which they were added. It can be used by several threads."""

    def __init__(self, settings: Settings) -> None:
        self._path = settings.folder / FILE
        self._lock = threading.Lock()
        document = state.read_json(self._path) or {}
        self._last = int(document.get("last", 0))
        self._faults = [Fault(**one) for one in document.get("faults", ())]

    def list_all(self) -> list[Fault]:
        """Return all faults."""
        with self._lock:
            return list(self._faults)

    def add(self, fault: Fault) -> Fault:
        """Add a fault; return it with its number."""
        with self._lock:
            self._last += 1
            self._faults.append(replace(fault, id=self._last))
            self._save()
            return self._faults[-1]

    def list_running(self) -> list[Fault]:
        """Return the faults of running hosts."""
        return [one for one in self.list_all() if one.of_kind.target is Target.RUNNING_HOST]

    def clear(self, number: int = 0) -> list[Fault]:
        """Remove one fault, or all; return those that were removed."""
        with self._lock:
            gone = [one for one in self._faults if number in (0, one.id)]
            self._faults = [one for one in self._faults if one not in gone]
            self._save()
            return gone

    def take(self, kind: str, *, call: str = "", type: str = "", zone: str = "", host: str = "") -> Fault | None:  # noqa: A002 - the fields of a fault
        """Return the first fault of a kind that acts now, and count that it did; None if there is none.

        A fault for a type, zone or host acts only on a call or host that has it.
        """
        with self._lock:
            for fault in self._faults:
                if fault.kind != kind or (fault.calls and call and call not in fault.calls):
                    continue
                if (fault.type and fault.type != type) or (fault.zone and fault.zone != zone):
                    continue
                if fault.host and not fnmatchcase(host, fault.host):
                    continue
                if self._count(fault):
                    return fault
        return None

    def _count(self, fault: Fault) -> bool:
        """Count a match of a fault; return whether it acts."""
        place = self._faults.index(fault)
        if fault.after:
            self._faults[place] = replace(fault, after=fault.after - 1)
        elif fault.times == 1:
            del self._faults[place]
        elif fault.times:
            self._faults[place] = replace(fault, times=fault.times - 1)
        if fault.after or fault.times:
            self._save()
        return not fault.after

    def _save(self) -> None:
        """Write the file."""
        document = {"last": self._last, "faults": [one.to_dict() for one in self._faults]}
        write_json(self._path, document)

    # Faults of calls.

    def find_skew(self) -> float:
        """Return by how many seconds the API's clock is wrong."""
        fault = self.take("clock-skew")
        return fault.seconds if fault else 0.0

    def refuse(self, service: str, operation: str) -> None:
        """Raise the error that a fault of any call causes."""
        if self.take("throttling", call=operation):
            code, status = _THROTTLED.get(service, ("ThrottlingException", 400))
            raise RefusedError(code, "Request limit exceeded." if service == "ec2" else "Rate exceeded", status=status)
        if self.take("expired-credentials", call=operation):
            code, status = _EXPIRED.get(service, ("ExpiredTokenException", 403))
            message = (
                "Request has expired." if service == "ec2" else "The security token included in the request is expired"
            )
            raise RefusedError(code, message, status=status)

    def refuse_capacity(self, operation: str, *, type: str, zone: str) -> None:  # noqa: A002
        """Refuse to create or start instances of a type in a zone, if there is such a fault."""
        if self.take("capacity", call=operation, type=type, zone=zone):
            raise RefusedError("InsufficientInstanceCapacity", NO_CAPACITY.format(kind=type, zone=zone))


def answer(faults: Faults, operation: str, parameters: Mapping[str, Any], known: set[str]) -> Answer:
    """Answer a request about faults; ``known`` are the API calls that change something."""
    try:
        if operation == "AddFault":
            found = [faults.add(_check_call(make_fault(parameters), known))]
        elif operation == "ClearFaults":
            found = faults.clear(int(parameters.get("id", 0)))
        elif operation == "ListFaults":
            found = faults.list_all()
        else:
            raise RefusedError("UnsupportedOperation", f"The lab does not offer {operation}")
    except LabUsageError as error:
        document = {"__type": WRONG, "message": error.message, "hint": error.hint or ""}
        return Answer(400, "application/x-amz-json-1.1", json.dumps(document).encode())
    return Answer(200, "application/x-amz-json-1.1", json.dumps([one.to_dict() for one in found]).encode())


def _check_call(fault: Fault, known: set[str]) -> Fault:
    """Refuse a fault of a call that the lab does not have; it would never act."""
    if fault.call and fault.call not in known and not calls.is_reading(fault.call):
        close = difflib.get_close_matches(fault.call, known, 1)
        hint = f"did you mean {close[0]}?" if close else "calls.jsonl in the lab's folder has the names of all calls"
        raise LabUsageError(f"the lab has no API call {fault.call}", hint=hint)
    return fault
