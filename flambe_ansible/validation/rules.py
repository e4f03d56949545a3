"""Rules for single values: names, numbers, AWS identifiers, commands, versions."""

from __future__ import annotations

import contextlib
import ipaddress
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from packaging.version import InvalidVersion, Version

from flambe_ansible.validation.schema import Flaw, Rule, show, suggest

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
USER = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,31}")
SUBNET = re.compile(r"subnet-[0-9a-f]{6,32}")
SECURITY_GROUP = re.compile(r"sg-[0-9a-f]{6,32}")
IMAGE = re.compile(r"ami-[0-9a-f]{6,32}")
INSTANCE_TYPE = re.compile(
    r"[a-z][a-z0-9]*(-[a-z0-9]+)*\.(nano|micro|small|medium|large|[0-9]*xlarge|metal(-[0-9]+xl)?)"
)
REGION = re.compile(r"[a-z]{2,4}(-[a-z]+){1,2}-[0-9]{1,2}")
ZONE = re.compile(rf"({REGION.pattern})[a-z]")
FIRST_CLUSTERS = Version("0.4.0")
PRICE = "max_price"


def text(*, longest: int) -> Rule:
    """Return the rule for one line of 1 to ``longest`` characters."""

    def check(value: str) -> list[Flaw]:
        if not value.strip():
            return [Flaw(message="is empty")]
        if len(value) > longest:
            return [Flaw(message=f"has {len(value)} characters")]
        if not value.isprintable():
            return [Flaw(message=f"contains a control character or a line break: {show(value)}")]
        return []

    return check


@dataclass(frozen=True)
class Form:
    """The rule for text that matches a pattern; ``hint`` is a prefix that is suggested if only it is missing."""

    pattern: re.Pattern[str]
    hint: str = ""

    def __call__(self, value: str) -> list[Flaw]:
        """Check a value."""
        if self.pattern.fullmatch(value):
            return []
        likely = value.strip() if self.hint else ""
        candidates = (likely, likely.lower(), self.hint + likely.lower())
        meant = next((one for one in candidates if likely and self.pattern.fullmatch(one)), "")
        return [Flaw(message=f"is {show(value)}" if value else "is empty", suggestion=meant)]


@dataclass(frozen=True)
class Choice:
    """The rule for a choice of words."""

    choices: tuple[str, ...]

    def __call__(self, value: str) -> list[Flaw]:
        """Check a value."""
        if value in self.choices:
            return []
        return [Flaw(message=f"is {show(value)}", suggestion=suggest(value, self.choices))]


@dataclass(frozen=True)
class Within:
    """The rule for a number from ``low`` to ``high``."""

    low: float
    high: float

    def __call__(self, value: float) -> list[Flaw]:
        """Check a value."""
        return [] if self.low <= value <= self.high else [Flaw(message=f"is {value}")]


def form(pattern: re.Pattern[str], *, hint: str = "") -> Form:
    """Return the rule for text that matches a pattern."""
    return Form(pattern, hint)


def choice(*choices: str) -> Choice:
    """Return the rule for a choice of words."""
    return Choice(choices)


def within(low: float, high: float) -> Within:
    """Return the rule for a number from ``low`` to ``high``."""
    return Within(low, high)


def region(value: str) -> list[Flaw]:
    """Check the name of an AWS region."""
    zone = ZONE.fullmatch(value)
    if zone:
        return [Flaw(message=f"is the availability zone {show(value)}", suggestion=zone.group(1))]
    return form(REGION, hint=" ")(value)


def networks(value: Sequence[Any]) -> list[Flaw]:
    """Check a list of IPv4 and IPv6 networks in CIDR notation."""
    if not value:
        return [Flaw(message="is empty", expected="at least one network")]
    flaws = []
    for index, text in enumerate(value):
        try:
            ipaddress.ip_network(text if isinstance(text, str) else "")
        except ValueError:
            flaws.append(Flaw(message=f"is {show(text)}", expected="a network such as 203.0.113.0/24", path=(index,)))
            if isinstance(text, str):
                with contextlib.suppress(ValueError):
                    flaws[-1] = replace(flaws[-1], suggestion=str(ipaddress.ip_network(text, strict=False)))
    return flaws


def choices(rule: Rule) -> Rule:
    """Return the rule for a list of different texts, each of which follows a rule."""

    def check(value: Sequence[Any]) -> list[Flaw]:
        flaws = [] if value else [Flaw(message="is empty", expected="at least one")]
        for index, one in enumerate(value):
            if not isinstance(one, str):
                flaws.append(Flaw(message=f"is {_a(one)}, not a text", path=(index,)))
            elif one in value[:index]:
                flaws.append(Flaw(message=f"is {show(one)} again", expected="each one once", path=(index,)))
            else:
                flaws += [replace(flaw, path=(index,)) for flaw in rule(one)]
        return flaws

    return check


def spot(value: Any) -> list[Flaw]:
    """Check the choice of Spot Instances: true, false, or a mapping with the highest price per hour.

    https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_SpotMarketOptions.html (prices below 0.001 USD)
    """
    if isinstance(value, bool):
        return []
    if not isinstance(value, Mapping):
        return [Flaw(message=f"is {show(value)}")]
    flaws = [
        Flaw(message=f"has the unknown key {show(name)}", suggestion="max_price") for name in value if name != PRICE
    ]
    price = value.get(PRICE)
    if PRICE not in value and not flaws:
        flaws.append(Flaw(message="is an empty mapping"))
    elif PRICE in value and (
        isinstance(price, bool) or not isinstance(price, int | float) or not 0.001 <= price <= 1000
    ):
        flaws.append(Flaw(message=f"is {show(price)}", expected="0.001 to 1000 USD", path=(PRICE,)))
    return flaws


def commands(value: Sequence[Any]) -> list[Flaw]:
    """Check a list of commands; messages never repeat a command, because it may contain a secret."""
    flaws = []
    for index, command in enumerate(value):
        if not isinstance(command, str):
            flaws.append(Flaw(message=f"is {_a(command)}, not a command", path=(index,)))
        elif not command.strip():
            flaws.append(Flaw(message="is empty", path=(index,)))
        elif "\0" in command:
            flaws.append(Flaw(message="contains a NUL character", path=(index,)))
    return flaws


def flambe_version(value: str) -> list[Flaw]:
    """Check the version of a flambe release (PEP 440)."""
    try:
        version = Version(value)
    except InvalidVersion:
        digits = re.search(r"[0-9]+(\.[0-9]+)+", value)
        return [Flaw(message=f"is {show(value)}", suggestion=digits.group() if digits else "")]
    if version < FIRST_CLUSTERS:
        message = f"is {value}, which is older than flambe's first release"
        return [Flaw(message=message, expected=f"{FIRST_CLUSTERS} or later")]
    return []


def _a(value: Any) -> str:
    """Describe the type of a Python value."""
    kinds: dict[type, str] = {bool: "a boolean", int: "a number", float: "a number", dict: "a mapping", list: "a list"}
    return "empty" if value is None else kinds.get(type(value), f"a {type(value).__name__}")
