"""The account of a budget: its end does not change by itself, and nothing is forgotten."""

from __future__ import annotations

import pytest

from flambe_ansible.ec2 import budgets
from flambe_ansible.ec2.budgets import Account

HOUR = 3600
START = 1_780_000_000.0


def update(before: Account | None = None, *, budget: float = 50, rate: float = 2, spent: float = 0, hours: float = 0):  # type: ignore[no-untyped-def]
    return budgets.update(before, budget=budget, rate=rate, spent=spent, now=START + hours * HOUR)


def test_the_end_of_a_new_cluster() -> None:
    assert update().ends == START + 25 * HOUR
    assert update(spent=10).ends == START + 20 * HOUR


def test_later_launches_do_not_move_the_end() -> None:
    first = update()
    for hours in (0.001, 1, 24, 30):
        assert update(first, hours=hours) == first
    assert update(first, rate=2.01, hours=1) == first  # a rounding of the price is no change


def test_a_budget_with_many_digits_does_not_move_the_end() -> None:
    first = update(budget=100 / 3)
    assert update(first, budget=100 / 3, hours=1) == first


def test_added_hosts_move_it_and_what_was_spent_counts() -> None:
    more = update(update(), rate=4, hours=5)  # 10 USD are spent
    assert (more.spent, more.ends) == (10, START + 15 * HOUR)
    fewer = update(more, rate=1, hours=10)  # and 20 more
    assert (fewer.spent, fewer.ends) == (30, START + 30 * HOUR)


def test_a_changed_budget_moves_it() -> None:
    assert update(update(), budget=60, hours=5).ends == START + 30 * HOUR
    assert update(update(), budget=20, hours=5).ends == START + 10 * HOUR
    assert update(update(), budget=5, hours=5).ends == START + 5 * HOUR  # it is used up


def test_hosts_cost_nothing_after_the_end() -> None:
    over = update(update(), budget=60, hours=100)  # they powered themselves off after 25 hours
    assert (over.spent, over.ends) == (50, START + 105 * HOUR)
    assert update().count_spent(START + 100 * HOUR) == 50


def test_hosts_without_a_price_never_end_by_it() -> None:
    assert update(rate=0).ends > START + 100 * 365 * 24 * HOUR
    assert budgets.write_time(update(rate=0).ends).startswith("9999-")


@pytest.mark.parametrize("rate", [2, 1 / 3, 0.0345678912])
def test_the_tag_has_the_account(rate: float) -> None:
    made = update(rate=rate, spent=1 / 7)
    assert budgets.read(made.write()) == made
    assert len(made.write()) <= 256
    assert set(made.write()) <= set("abcdefghijklmnopqrstuvwxyzTZ0123456789 =.:-")  # allowed in tags of EC2


@pytest.mark.parametrize(
    "text", ["", "50", "budget=a spent=0 rate=1 since=2026-11-30T00:00:00Z", "budget=1 spent=0 rate=1 since=now"]
)
def test_malformed_tags_are_no_account(text: str) -> None:
    assert budgets.read(text) is None
