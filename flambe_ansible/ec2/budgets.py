"""A cluster's budget: what it has spent, at which rate it spends, and when the money is used up; pure functions.

The account of a cluster is a tag of its hosts (and a copy of it in the state folder), written by a launch. From then on
the cluster spends at the rate of that launch until another launch changes the rate: a host that ended meanwhile counts
as if it still ran. So the account never has too little, and the time of the end does not change by itself.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime

TAG = "Flambe-Budget"
SAME_RATE = 0.01  # a smaller relative change of the rate is none: prices of other sources differ by roundings
_CENT_PART = 1e-6  # US dollars; the tag has six digits
_FORM = re.compile(r"budget=(?P<budget>\S+) spent=(?P<spent>\S+) rate=(?P<rate>\S+) since=(?P<since>\S+)")
_TIME = "%Y-%m-%dT%H:%M:%SZ"
_LAST = datetime(9999, 1, 1, tzinfo=UTC).timestamp()


@dataclass(frozen=True, kw_only=True)
class Account:
    """The account of a cluster.

    Attributes:
        budget: What the cluster may spend, in US dollars.
        spent: What it had spent at ``since``.
        rate: What it spends since then, in US dollars per hour.
        since: A time, in whole seconds since the epoch.
    """

    budget: float
    spent: float
    rate: float
    since: float

    @property
    def ends(self) -> float:
        """When the budget is used up, in seconds since the epoch."""
        if not self.rate:
            return _LAST
        return min(float(int(self.since + max(self.budget - self.spent, 0.0) / self.rate * 3600)), _LAST)

    def count_spent(self, now: float) -> float:
        """Return what is spent at a time, in US dollars; at the end all hosts power themselves off."""
        until = min(now, max(self.ends, self.since))
        return self.spent + self.rate * max(until - self.since, 0.0) / 3600

    def write(self) -> str:
        """Write the value of the tag."""
        return f"budget={self.budget:.6f} spent={self.spent:.6f} rate={self.rate:.6f} since={write_time(self.since)}"


def read(text: str) -> Account | None:
    """Read the value of the tag; None if it is malformed."""
    match = _FORM.fullmatch(text.strip())
    if not match:
        return None
    try:
        return Account(
            budget=float(match["budget"]),
            spent=float(match["spent"]),
            rate=float(match["rate"]),
            since=read_time(match["since"]),
        )
    except ValueError:
        return None


def update(before: Account | None, *, budget: float, rate: float, spent: float, now: float) -> Account:
    """Return the account of a launch; it is unchanged if neither the budget nor the rate changes.

    Args:
        before: The account of the previous launch; None if there is none.
        budget: The configured budget.
        rate: The price of all hosts after the launch, in US dollars per hour.
        spent: What the existing hosts have cost, if there is no account yet.
        now: The time, in seconds since the epoch.
    """
    if before is None:
        return _round(Account(budget=budget, spent=spent, rate=rate, since=now))
    if abs(before.rate - rate) <= SAME_RATE * rate:
        return before if abs(before.budget - budget) < _CENT_PART else _round(_charge(before, budget, before.rate, now))
    return _round(_charge(before, budget, rate, now))


def _charge(before: Account, budget: float, rate: float, now: float) -> Account:
    return Account(budget=budget, spent=before.count_spent(now), rate=rate, since=now)


def _round(account: Account) -> Account:
    """Return an account with the digits of its tag, so that its end is the same when it is read again."""
    return read(account.write()) or account


def write_time(seconds: float) -> str:
    """Format seconds since the epoch as ISO 8601, UTC."""
    return datetime.fromtimestamp(int(seconds), UTC).strftime(_TIME)


def read_time(text: str) -> float:
    """Read what ``write_time`` wrote."""
    return datetime.strptime(text, _TIME).replace(tzinfo=UTC).timestamp()
