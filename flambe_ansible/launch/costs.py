"""What a cluster costs, as data; amounts in US dollars, times in seconds since the epoch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from flambe_ansible.ec2.budgets import write_time

DIGITS = 6  # of amounts in JSON


@dataclass(frozen=True, kw_only=True)
class HostPrice:
    """What one host costs per hour; None is unknown.

    Attributes:
        per_hour: The instance and its disk.
        instance: The instance.
        disk: The disk, which costs also while the host is stopped.
        source: ``api``, ``spot``, ``table`` or ``unknown``.
    """

    per_hour: float | None
    instance: float | None
    disk: float | None
    source: str


@dataclass(frozen=True, kw_only=True)
class BudgetState:
    """A budget.

    Attributes:
        budget: What the cluster may spend.
        spent: What it has spent, at most.
        ends: When its hosts power themselves off.
    """

    budget: float
    spent: float
    ends: float

    def to_dict(self) -> dict[str, Any]:
        """Return the documented JSON document."""
        return {"budget": self.budget, "spent": _round(self.spent), "ends": write_time(self.ends)}


@dataclass(frozen=True, kw_only=True)
class Costs:
    """What a cluster costs.

    Attributes:
        prices: The price of each host by its name.
        origin: Where the prices are from, in words; "" if none is known.
        problem: Why they are not from AWS, or "".
        so_far: What the running hosts have cost since they were started; None in a plan, and if a price is unknown.
        limit: ``max_price_per_hour``, or None.
        budget: The budget, or None.
    """

    prices: Mapping[str, HostPrice]
    origin: str
    problem: str = ""
    so_far: float | None = None
    limit: float | None = None
    budget: BudgetState | None = None

    @property
    def per_hour(self) -> float | None:
        """The price of all hosts; None if one is unknown."""
        return add_up([one.per_hour for one in self.prices.values()])

    @property
    def unknown(self) -> list[str]:
        """The names of the hosts whose prices are unknown."""
        return [name for name, one in self.prices.items() if one.per_hour is None]

    def to_dict(self) -> dict[str, Any]:
        """Return the documented JSON document."""
        total = self.per_hour
        return {
            "currency": "USD",
            "per_hour": _round(total),
            "per_day": _round(None if total is None else total * 24),
            "so_far": _round(self.so_far),
            "prices": self.origin,
            "problem": self.problem,
            "unknown": self.unknown,
            "max_price_per_hour": self.limit,
            "budget": self.budget.to_dict() if self.budget else None,
        }


def add_up(amounts: Sequence[float | None]) -> float | None:
    """Add amounts; None if one of them is unknown."""
    known = [amount for amount in amounts if amount is not None]
    return sum(known) if len(known) == len(amounts) else None


def _round(amount: float | None) -> float | None:
    return None if amount is None else round(amount, DIGITS)
