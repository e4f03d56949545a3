"""The command ``plan``: what it shows, its document, and its exit codes."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from flambe_ansible.cli.render.costs import render_price, render_spending
from flambe_ansible.cli.render.plan import render_plan
from flambe_ansible.errors import AWSError, Problem
from flambe_ansible.launch.costs import BudgetState, Costs, HostPrice
from flambe_ansible.launch.plan import Action, Change, Effect, Plan

from .conftest import Run
from .made_up import FakeCluster, make_plan
from .test_views import draw

PRICE = HostPrice(per_hour=0.5, instance=0.4, disk=0.1, source="api")
UNKNOWN = HostPrice(per_hour=None, instance=None, disk=0.1, source="unknown")
TYPE = Change(field="factories_type", current="t3.small", wanted="t3.large", effect=Effect.NEW_HOSTS, why="kept")
TAG = Change(field="tags.team", current="", wanted="ml", effect=Effect.IN_PLACE)
NUMBER = Change(field="factories_num", current="2", wanted="1", effect=Effect.NONE, why="a launch removes no hosts")


def make_priced(action: Action = Action.CREATE, *changes: Change, price: HostPrice = PRICE) -> Plan:
    """Make a plan with prices; the differences are those of the last host."""
    plan = make_plan(action)
    hosts = [replace(one, price=price) for one in plan.hosts]
    hosts[-1] = replace(hosts[-1], changes=changes)
    costs = Costs(prices={one.name: price for one in hosts}, origin="AWS Pricing API")
    return replace(plan, hosts=tuple(hosts), costs=costs)


@pytest.mark.parametrize(
    ("plan", "code"),
    [
        (make_priced(Action.CREATE), 2),
        (make_priced(Action.START), 2),
        (make_priced(Action.REUSE), 0),
        (make_priced(Action.REUSE, TAG), 2),
        (make_priced(Action.REUSE, TYPE), 0),
        (replace(make_priced(Action.REUSE), changes=(NUMBER,)), 0),
        (replace(make_priced(Action.REUSE), changes=(replace(TAG, field="budget"),)), 2),
    ],
)
def test_the_detailed_exit_code(cluster: FakeCluster, run: Run, plan: Plan, code: int) -> None:
    cluster.planned = plan
    assert run("plan", "c.yaml", "--detailed-exitcode").code == code
    assert run("plan", "c.yaml").code == 0
    assert cluster.calls == ["close", "close"]


def test_errors_have_the_exit_code_1_with_it(cluster: FakeCluster, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_self: FakeCluster) -> Plan:
        raise AWSError("Failed to find instances: no permission")

    monkeypatch.setattr(FakeCluster, "plan", fail)
    assert run("plan", "c.yaml").code == 4
    done = run("plan", "c.yaml", "--detailed-exitcode", "--json")
    assert (done.code, json.loads(done.stdout)["error"]["exit_code"]) == (1, 4)
    assert "no permission" in done.stderr
    assert (run("plan").code, run("plan", "--detailed-exitcode").code) == (2, 1)
    assert run("plan", "c.yaml", "--detailed-exitcode", "--nonsense").code == 1


@pytest.mark.parametrize("command", [("plan",), ("launch", "--dry-run"), ("launch", "--yes")])
def test_a_refused_launch_shows_its_plan_and_creates_nothing(
    cluster: FakeCluster, run: Run, command: tuple[str, ...]
) -> None:
    problem = Problem(file="", line=0, column=0, message="max_price_per_hour is 1 USD", field="max_price_per_hour")
    cluster.planned = replace(make_priced(), problems=(problem,))
    done = run(*command, "c.yaml")
    assert done.code == 3
    assert "Plan: 3 to add" in done.stdout
    assert "max_price_per_hour is 1 USD" in done.stderr
    assert cluster.calls == ["close"]
    document = json.loads(run(*command, "c.yaml", "--json").stdout)
    assert (document["error"]["exit_code"], document["counts"]["add"]) == (3, 3)
    assert document["problems"] == ["max_price_per_hour is 1 USD"]


def test_the_document(cluster: FakeCluster, run: Run) -> None:
    cluster.planned = make_priced(Action.REUSE, TYPE, TAG)
    document = json.loads(run("plan", "c.yaml", "--json").stdout)
    assert document["schema_version"] == 1
    assert document["counts"] == {"add": 0, "change": 1, "replace": 0, "start": 0, "unchanged": 2}
    assert document["hosts"][0]["price"]["per_hour"] == 0.5
    assert document["hosts"][-1]["changes"][0] == {
        "field": "factories_type",
        "current": "t3.small",
        "wanted": "t3.large",
        "effect": "new hosts only",
        "why": "kept",
    }
    assert (document["costs"]["per_hour"], document["costs"]["per_day"]) == (1.5, 36.0)


@pytest.mark.parametrize("width", [80, 120])
def test_a_plan_shows_prices_and_differences(width: int) -> None:
    plan = replace(make_priced(Action.REUSE, TYPE, TAG), changes=(NUMBER,))
    text = " ".join(draw(render_plan(plan), width=width).split())
    for part in (
        "Plan: 0 to add, 1 to change, 0 to replace, 2 unchanged",
        "Price: 1.5000 USD per hour, 36.00 USD per day (AWS Pricing API)",
        "~ factories_type t3.small -> t3.large (factory 1) new hosts only; kept",
        "+ tags.team ml (factory 1) in place",
        "~ factories_num 2 -> 1 (cluster) not applied; a launch removes no hosts",
    ):
        assert part in text


def test_unknown_prices_are_never_zero() -> None:
    plan = make_priced(price=UNKNOWN)
    text = draw(render_plan(plan), width=120)
    assert "Price: unknown for 3 of 3 hosts" in text
    assert "0.0000" not in text
    assert plan.costs
    assert "Costs: unknown for 3 of 3 hosts" in "\n".join(line.plain for line in render_spending(plan.costs))


def test_a_budget_fits_into_one_line() -> None:
    budget = BudgetState(budget=1234.5, spent=1000.123, ends=1_900_000_000)
    costs = replace(make_priced().costs or Costs(prices={}, origin=""), budget=budget, so_far=12.0, limit=2)
    for lines in (render_price(costs), render_spending(costs)):
        assert max(len(line.plain) for line in lines) <= 80
        assert any(
            line.plain.startswith("Budget: 1234.5 USD, 1000.12 spent; hosts power off at 2030-") for line in lines
        )


def test_without_prices_there_is_no_price_line() -> None:
    assert "Price" not in draw(render_plan(make_plan()))
