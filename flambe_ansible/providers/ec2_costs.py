"""What a cluster on EC2 costs, and the limits of it: the price per hour, and the budget."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from flambe_ansible.ec2 import api, budgets, prices
from flambe_ansible.ec2.budgets import Account
from flambe_ansible.ec2.clients import Clients
from flambe_ansible.ec2.instances import LONG_AGO, EC2Instance, Existing
from flambe_ansible.ec2.launching import IO1_IOPS
from flambe_ansible.ec2.prices import Price, PriceBook, Source
from flambe_ansible.ec2.tags import ClusterTags
from flambe_ansible.errors import Problem
from flambe_ansible.files import write_atomic
from flambe_ansible.findings import make_problem
from flambe_ansible.hosts import HostState, Role
from flambe_ansible.launch.costs import BudgetState, Costs, HostPrice
from flambe_ansible.launch.plan import Change, Effect, refuse
from flambe_ansible.paths import state_root
from flambe_ansible.providers.ec2_spec import EC2Spec

CACHE = "prices.json"
RECORD = "budget"  # the copy of the tag in the cluster's state folder
ORIGINS = {
    Source.API: "AWS Pricing API",
    Source.SPOT: "current spot prices",
    Source.TABLE: f"table of this release, of {prices.table_date()}",
}


@dataclass(frozen=True, kw_only=True)
class Volume:
    """A root volume: its type, size (GB) and IOPS that cost extra."""

    type: str
    size: int
    iops: int = 0


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """What the cluster will cost after a launch.

    Attributes:
        costs: The prices and limits.
        account: The account of the budget after the launch; None without a budget, or if a price is unknown.
        changes: What the launch changes about it.
        problems: Why the launch is refused.
    """

    costs: Costs
    account: Account | None
    changes: tuple[Change, ...]
    problems: tuple[Problem, ...]


class EC2Costs:
    """The costs of one cluster.

    Args:
        spec: Returns the wanted cluster.
        clients: The API clients.
        state_dir: Returns the cluster's state folder.
    """

    def __init__(self, spec: Callable[[], EC2Spec], clients: Clients, state_dir: Callable[[], Path]) -> None:
        self._get_spec = spec
        self._clients = clients
        self._state_dir = state_dir

    @cached_property
    def book(self) -> PriceBook:
        """The prices."""
        return PriceBook(self._clients, state_root() / CACHE)

    @property
    def _spec(self) -> EC2Spec:
        return self._get_spec()

    def estimate(self, existing: Existing, new: Mapping[str, Role], volumes: Mapping[str, Volume]) -> Estimate:
        """Return what the cluster costs after a launch, and why it is refused.

        Args:
            existing: The instances that are kept.
            new: The role of each host that is created, by its name.
            volumes: The root volumes of the existing instances by their ids.
        """
        spec, now = self._spec, time.time()
        found = {name: self._price(one, volumes) for name, one in existing.named(spec.name)}
        types = {name: one.type for name, one in existing.named(spec.name)}
        for name, role in new.items():
            types[name], found[name] = self._price_new(role)
        costs = self._make_costs(found)
        if costs.unknown and (spec.max_price_per_hour is not None or spec.budget is not None):
            return Estimate(costs=costs, account=None, changes=(), problems=tuple(self._name_unknown(costs, types)))
        refused = _check_limit(costs, types)
        account = before = None
        if spec.budget is not None:
            before = self.find_account(existing)
            spent = self._count(existing, found, now)
            account = budgets.update(before, budget=spec.budget, rate=costs.per_hour or 0.0, spent=spent, now=now)
            costs = replace(costs, budget=_describe(account, now))
            refused += _check_account(account, now)
        changes = [change for _, change in refused] or _compare(before, account, costs)
        return Estimate(
            costs=costs, account=account, changes=tuple(changes), problems=tuple(problem for problem, _ in refused)
        )

    def settle(self, existing: Existing, new: Mapping[str, Role]) -> Account | None:
        """Check the limits of a launch, and return the account of its budget; None without a budget.

        Raises:
            ClusterConfigurationError: The launch would exceed a limit, or a price is unknown.
        """
        if self._spec.max_price_per_hour is None and self._spec.budget is None:
            return None
        estimate = self.estimate(existing, new, self.read_volumes(existing))
        if estimate.problems:
            raise refuse(estimate.problems)
        return estimate.account

    def measure(self, existing: Existing) -> Costs:
        """Return what the existing hosts cost now, and what the running ones have cost since their start."""
        spec, now = self._spec, time.time()
        volumes = self.read_volumes(existing)
        found = {
            name: self._price(one, volumes, stopped=one.state in (HostState.STOPPED, HostState.STOPPING))
            for name, one in existing.named(spec.name)
        }
        known = all(one.per_hour is not None for one in found.values())
        account = self.find_account(existing) if spec.budget is not None else None
        return replace(
            self._make_costs(found),
            so_far=self._count(existing, found, now) if known else None,
            budget=_describe(account, now) if account else None,
        )

    # The account.

    def find_account(self, existing: Existing) -> Account | None:
        """Return the latest account: that of a host's tag, or of the last launch of this machine."""
        texts = [one.tags.get(budgets.TAG, "") for one in existing.all]
        with suppress(OSError, ValueError):
            texts.append(self._record.read_text())
        return max(filter(None, map(budgets.read, texts)), key=lambda one: one.since, default=None)

    def record(self, account: Account | None) -> None:
        """Keep an account: a launch that is interrupted finds it, and one of a cluster whose hosts have all ended."""
        if account:
            write_atomic(self._record, account.write() + "\n")

    def mark(self, tags: ClusterTags, account: Account | None) -> ClusterTags:
        """Return the cluster's tags with that of the account."""
        return replace(tags, user_tags={**tags.user_tags, budgets.TAG: account.write()}) if account else tags

    def forget(self) -> None:
        """Remove the account: all hosts were terminated on request."""
        self._record.unlink(missing_ok=True)

    @property
    def _record(self) -> Path:
        return self._state_dir() / RECORD

    # Prices.

    def read_volumes(self, existing: Existing) -> dict[str, Volume]:
        """Return the root volumes of instances by their ids."""
        ids = [one.root_volume for one in existing.all if one.root_volume]
        found = api.describe_volumes(self._clients.ec2, {"volume-id": ids}) if ids else []
        return {
            one["VolumeId"]: Volume(
                type=str(one.get("VolumeType", "")),
                size=one.get("Size", 0),
                iops=_count_iops(str(one.get("VolumeType", "")), one.get("Iops", 0)),
            )
            for one in found
        }

    def _price(self, instance: EC2Instance, volumes: Mapping[str, Volume], *, stopped: bool = False) -> HostPrice:
        volume = volumes.get(instance.root_volume) or self._new_volume
        price = Price(0.0, Source.API)
        if not stopped:
            price = self.book.find_instance(
                instance.type,
                region=self._clients.region,
                zone=instance.zone or None,
                spot=instance.spot,
                dedicated=instance.dedicated,
            )
        return self._combine(price, volume)

    def _price_new(self, role: Role) -> tuple[str, HostPrice]:
        """Return the type of a new host and its price: the first one, or with a limit the most expensive one."""
        settings = self._spec.settings
        found = {
            kind: self.book.find_instance(
                kind, region=self._clients.region, spot=role in settings.spot, dedicated=settings.dedicated
            )
            for kind in settings.list_types(role)
        }
        is_limited = self._spec.max_price_per_hour is not None or self._spec.budget is not None
        known = [math.inf if one.usd is None else one.usd for one in found.values()]
        kind = list(found)[known.index(max(known)) if is_limited else 0]
        return kind, self._combine(found[kind], self._new_volume)

    def _combine(self, instance: Price, volume: Volume) -> HostPrice:
        disk = self.book.find_disk(volume.type, volume.size, volume.iops, region=self._clients.region)
        both = prices.add([instance, disk])
        return HostPrice(per_hour=both.usd, instance=instance.usd, disk=disk.usd, source=str(both.source))

    @property
    def _new_volume(self) -> Volume:
        settings = self._spec.settings
        iops = _count_iops(settings.volume_type, IO1_IOPS)
        return Volume(type=settings.volume_type, size=settings.volume_size, iops=iops)

    def _count(self, existing: Existing, found: Mapping[str, HostPrice], now: float) -> float:
        """Return what the running hosts have cost since their start."""
        return sum(
            (found[name].per_hour or 0.0) * max(now - one.launched.timestamp(), 0.0) / 3600
            for name, one in existing.named(self._spec.name)
            if one.state in (HostState.PENDING, HostState.RUNNING) and one.launched > LONG_AGO
        )

    def _make_costs(self, found: Mapping[str, HostPrice]) -> Costs:
        sources = {one.source for one in found.values()}
        origin = " and ".join(text for source, text in ORIGINS.items() if source in sources)
        return Costs(prices=found, origin=origin, problem=self.book.problem, limit=self._spec.max_price_per_hour)

    def _name_unknown(self, costs: Costs, types: Mapping[str, str]) -> list[Problem]:
        """Return the problems of limits that cannot be checked."""
        kinds = ", ".join(sorted({types[name] for name in costs.unknown}))
        reason = f" ({self.book.problem})" if self.book.problem else ""
        message = f"cannot be checked: the price of {kinds} in {self._clients.region} is unknown{reason}"
        expected = "a type with a known price (allow pricing:GetProducts), or no such limit"
        limits = {"max_price_per_hour": self._spec.max_price_per_hour, "budget": self._spec.budget}
        return [
            make_problem(field, f"{field} {message}", expected=expected)
            for field, value in limits.items()
            if value is not None
        ]


def _count_iops(volume_type: str, iops: int) -> int:
    """Return how many provisioned IOPS of a volume cost extra."""
    return iops if volume_type == "io1" else 0


def list_hosts(costs: Costs, types: Mapping[str, str]) -> str:
    """List the prices of hosts in words: ``1 t3.small for 0.0345, 2 g4dn.xlarge for 0.5397 each``."""
    groups: dict[tuple[str, float], int] = {}
    for name, one in costs.prices.items():
        key = (types[name], one.per_hour or 0.0)
        groups[key] = groups.get(key, 0) + 1
    return ", ".join(
        f"{number} {kind} for {usd:.4f}{' each' if number > 1 else ''}" for (kind, usd), number in groups.items()
    )


def _check_limit(costs: Costs, types: Mapping[str, str]) -> list[tuple[Problem, Change]]:
    """Return why a launch is refused for its price, and the same as a difference."""
    total = costs.per_hour or 0.0
    if costs.limit is None or total <= costs.limit:
        return []
    message = (
        f"max_price_per_hour is {costs.limit:g} USD, and the cluster would cost {total:.4f} USD per hour with its "
        f"disks: {list_hosts(costs, types)}"
    )
    return [_refuse("max_price_per_hour", message, f"{total:.4f} USD per hour", costs.limit)]


def _check_account(account: Account, now: float) -> list[tuple[Problem, Change]]:
    """Return why a launch is refused for its budget, and the same as a difference."""
    if account.ends > now:
        return []
    spent = f"{account.count_spent(now):.2f} USD"
    message = (
        f"budget is {account.budget:g} USD, and the cluster has spent {spent}. Hosts that ended since the last launch "
        "count until now. To continue, set a higher budget; flambe-ans down ends the count"
    )
    return [_refuse("budget", message, f"{spent} spent", account.budget)]


def _refuse(field: str, message: str, current: str, most: float) -> tuple[Problem, Change]:
    change = Change(field=field, current=current, wanted=f"at most {most:g}", effect=Effect.REFUSED)
    return make_problem(field, message), change


def _describe(account: Account, now: float) -> BudgetState:
    return BudgetState(budget=account.budget, spent=account.count_spent(now), ends=account.ends)


def _compare(before: Account | None, account: Account | None, costs: Costs) -> list[Change]:
    """Return what a launch changes about the budget's end."""
    if account is None or account == before:
        return []
    current = f"{before.budget:g} USD, until {budgets.write_time(before.ends)}" if before else ""
    wanted = f"{account.budget:g} USD, until {budgets.write_time(account.ends)}"
    why = f"at {costs.per_hour or 0.0:.4f} USD per hour"
    return [Change(field="budget", current=current, wanted=wanted, effect=Effect.IN_PLACE, why=why)]
