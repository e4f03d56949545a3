"""The kinds of faults that a lab has on request: what AWS or a host then does.

The table is the only place with a kind's defaults; ``faults`` keeps the faults of a lab, the gate and the fleet act.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from flambe_ansible.errors import LabUsageError

_EC2_ERRORS = "https://docs.aws.amazon.com/ec2/latest/devguide/errors-overview.html"
_COMMON_ERRORS = "https://docs.aws.amazon.com/AWSEC2/latest/APIReference/CommonErrors.html"
_STATE_REASON = "https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_StateReason.html"
_CONSISTENCY = "https://docs.aws.amazon.com/ec2/latest/devguide/eventual-consistency.html"
_SPOT = "https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/spot-interruptions.html"

CREATING = ("RunInstances",)
CAPACITY = ("RunInstances", "StartInstances")
_CALL = re.compile(r"[A-Z][A-Za-z]{2,60}")
_NUMBERS = {"times": (1, 1_000_000), "after": (0, 1_000_000), "seconds": (0, 86_400), "delay": (0, 86_400)}
_NUMBERS |= {"count": (0, 1_000_000)}


class Target(StrEnum):
    """What a fault acts on."""

    CALL = "call"  # of the API
    NEW_HOST = "new host"  # one that is created later
    RUNNING_HOST = "running host"  # one that runs, or will run


# The options that have an effect, besides ``seconds`` and ``count`` of the kinds that have them.
_OPTIONS = {
    Target.CALL: frozenset({"call", "times", "after"}),
    Target.NEW_HOST: frozenset({"type", "zone", "host", "times", "after"}),
    Target.RUNNING_HOST: frozenset({"type", "zone", "host", "times", "after", "delay"}),
}
_PLACE = frozenset({"type", "zone"})


@dataclass(frozen=True, kw_only=True)
class Kind:
    """A kind of fault.

    Attributes:
        name: Its name.
        target: What it acts on.
        about: What happens, in one line.
        calls: The API calls that it acts on, if none is named; empty for all.
        only: Whether it acts on no other calls.
        options: The names of the options that this kind has besides those of its target.
        times: How often it acts, if no number is given; 0 until it is cleared.
        seconds: The default of ``seconds``; None if the kind has no duration.
        count: The default of ``count``; None if the kind has no number.
        source: The page of AWS that describes it.
    """

    name: str
    target: Target
    about: str
    calls: tuple[str, ...] = ()
    only: bool = False
    options: frozenset[str] = frozenset()
    times: int = 0
    seconds: float | None = None
    count: int | None = None
    source: str = ""


KINDS: Mapping[str, Kind] = {
    kind.name: kind
    for kind in (
        Kind(
            name="capacity",
            target=Target.CALL,
            about="creating or starting instances gets InsufficientInstanceCapacity (HTTP 500)",
            calls=CAPACITY,
            source=_EC2_ERRORS,
            only=True,
            options=_PLACE,
        ),
        Kind(
            name="partial-fill",
            target=Target.CALL,
            about="AWS has capacity for COUNT instances of a request (default: one fewer than its MaxCount)",
            calls=CREATING,
            count=-1,
            source="https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_RunInstances.html",
            only=True,
            options=_PLACE,
        ),
        Kind(
            name="throttling",
            target=Target.CALL,
            about="calls get RequestLimitExceeded (EC2, HTTP 503), Throttling or ThrottlingException (HTTP 400)",
            source="https://docs.aws.amazon.com/ec2/latest/devguide/ec2-api-throttling.html",
        ),
        Kind(
            name="late-visibility",
            target=Target.CALL,
            about="for SECONDS, new instances and changed tags are not shown, as with --consistency eventual",
            calls=("RunInstances", "CreateTags"),
            seconds=5.0,
            source=_CONSISTENCY,
            only=True,
        ),
        Kind(
            name="lost-response",
            target=Target.CALL,
            about="the call is carried out, and the connection is cut before the response",
            calls=CREATING,
            times=1,
            source="https://docs.aws.amazon.com/ec2/latest/devguide/ec2-api-idempotency.html",
        ),
        Kind(
            name="dies-pending",
            target=Target.CALL,
            about="new instances are terminated while they are pending, with a state reason",
            calls=CREATING,
            source=_STATE_REASON,
            only=True,
            options=_PLACE,
        ),
        Kind(
            name="expired-credentials",
            target=Target.CALL,
            about="calls get RequestExpired (EC2, HTTP 400), ExpiredToken or ExpiredTokenException (HTTP 403)",
            source=_COMMON_ERRORS,
        ),
        Kind(
            name="clock-skew",
            target=Target.CALL,
            only=True,
            about="the API's clock is SECONDS ahead: over 15 minutes, EC2 answers RequestExpired (HTTP 400)",
            seconds=3600.0,
            source=_COMMON_ERRORS,
        ),
        Kind(
            name="spot-interruption",
            target=Target.RUNNING_HOST,
            about="spot instances are terminated, with the state reason Server.SpotInstanceTermination",
            source=_SPOT,
        ),
        Kind(
            name="slow-boot",
            target=Target.NEW_HOST,
            about="sshd starts SECONDS late; the instance is running meanwhile",
            seconds=60.0,
        ),
        Kind(
            name="sshd-before-key",
            target=Target.NEW_HOST,
            about="sshd answers SECONDS before the login user's key is installed",
            seconds=30.0,
        ),
        Kind(
            name="apt-lock",
            target=Target.NEW_HOST,
            about="apt's and dpkg's locks are held for SECONDS after the boot",
            seconds=60.0,
        ),
        Kind(
            name="wrong-host-key",
            target=Target.NEW_HOST,
            about="sshd has a host key that the console does not show",
        ),
        Kind(
            name="disk-full",
            target=Target.NEW_HOST,
            about="the disk has room for COUNT MB; its content is lost if the host is stopped",
            count=16,
        ),
        Kind(
            name="reboot",
            target=Target.RUNNING_HOST,
            about="the host reboots, DELAY seconds after it runs",
            times=1,
        ),
        Kind(
            name="network-cut",
            target=Target.RUNNING_HOST,
            about="the host's network is down for SECONDS (0: until the fault is cleared)",
            seconds=0.0,
        ),
    )
}


@dataclass(frozen=True, kw_only=True)
class Fault:
    """A fault of a lab.

    Attributes:
        kind: The name of its kind.
        id: Its number in the lab.
        call: The one API call that it acts on; "" for those of its kind.
        type: Only for instances of this type.
        zone: Only for instances in this zone.
        host: Only for hosts whose ``Name`` tag or id matches this pattern (with ``*`` and ``?``).
        times: How often it still acts: calls, or hosts; 0 until it is cleared.
        after: How many matching calls or hosts it still lets pass first.
        seconds: A duration; its meaning depends on the kind.
        delay: Seconds from the time that a host runs until the fault acts on it.
        count: A number; its meaning depends on the kind.
    """

    kind: str
    id: int = 0
    call: str = ""
    type: str = ""
    zone: str = ""
    host: str = ""
    times: int = 0
    after: int = 0
    seconds: float = 0.0
    delay: float = 0.0
    count: int = -1

    @property
    def of_kind(self) -> Kind:
        """Its kind."""
        return KINDS[self.kind]

    @property
    def calls(self) -> tuple[str, ...]:
        """The API calls that it acts on; empty for all."""
        return (self.call,) if self.call else self.of_kind.calls

    def to_dict(self) -> dict[str, Any]:
        """Return the documented JSON document."""
        return asdict(self)


def make_fault(document: Mapping[str, Any]) -> Fault:
    """Make a fault from its documented fields; None and missing values have the defaults of its kind.

    Raises:
        LabUsageError: A value is wrong.
    """
    given = {name: value for name, value in document.items() if value is not None}
    name = str(given.get("kind", ""))
    kind = KINDS.get(name)
    if kind is None:
        close = difflib.get_close_matches(name, KINDS, 1)
        hint = f"did you mean {close[0]}?" if close else f"the kinds: {', '.join(KINDS)}"
        raise LabUsageError(f"{name!r} is not a kind of fault", hint=hint)
    _check_options(kind, given)
    defaults = {"times": kind.times, "seconds": kind.seconds or 0.0, "count": -1 if kind.count is None else kind.count}
    made: dict[str, Any] = {**defaults, **given}
    for number, (least, most) in _NUMBERS.items():
        if number in given and not least <= given[number] <= most:
            raise LabUsageError(f"{number} is {given[number]:g}; expected {least} to {most}")
    return Fault(**made)


def _check_options(kind: Kind, given: Mapping[str, Any]) -> None:
    """Refuse options that the kind does not use, and calls that it does not act on."""
    allowed = _OPTIONS[kind.target] | kind.options
    allowed |= {name for name in ("seconds", "count") if getattr(kind, name) is not None}
    for name in given:
        if name not in allowed | {"kind"}:
            raise LabUsageError(f"--{name} has no effect on {kind.name}", hint=f"{kind.name}: {kind.about}")
    call = str(given.get("call", ""))
    if call and not _CALL.fullmatch(call):
        raise LabUsageError(f"{call!r} is not an API call", hint="expected a name such as RunInstances")
    if call and kind.only and call not in kind.calls:
        hint = f"it acts on {' and '.join(kind.calls) or 'all calls'}"
        raise LabUsageError(f"{kind.name} does not act on {call}", hint=hint)
