"""What a cluster costs, as lines."""

from __future__ import annotations

from rich.text import Text

from flambe_ansible.cli.render.words import format_time
from flambe_ansible.ec2.budgets import write_time
from flambe_ansible.launch.costs import BudgetState, Costs


def render_price(costs: Costs) -> list[Text]:
    """Draw the price of a plan: per hour and per day, with its origin, and the limits."""
    total = costs.per_hour
    if total is None:
        price = f"Price: unknown for {len(costs.unknown)} of {len(costs.prices)} hosts"
    else:
        price = f"Price: {write_price(total)} USD per hour, {total * 24:.2f} USD per day"
    lines = [Text.assemble((price, "bold"), (f"  ({costs.origin})" if costs.origin else "", "dim"))]
    if costs.limit is not None:
        lines.append(Text(f"Limit: {costs.limit:g} USD per hour"))
    if costs.budget:
        lines.append(describe_budget(costs.budget))
    if costs.problem:
        lines.append(Text.assemble(("note: ", "yellow"), f"prices could not be read from AWS: {costs.problem}"))
    return lines


def render_spending(costs: Costs) -> list[Text]:
    """Draw what a cluster costs now: one line, and one for its budget."""
    total, so_far = costs.per_hour, costs.so_far
    if total is None:
        line = f"Costs: unknown for {len(costs.unknown)} of {len(costs.prices)} hosts"
    else:
        line = f"Costs: {write_price(total)} USD per hour, {so_far or 0.0:.2f} USD so far"
    lines = [Text.assemble(line, (f"  ({costs.origin})" if costs.origin else "", "dim"))]
    return [*lines, describe_budget(costs.budget)] if costs.budget else lines


def describe_budget(budget: BudgetState) -> Text:
    """Describe a budget: ``Budget: 50 USD, 3.20 spent; hosts power off at 18:00``."""
    end = format_time(write_time(budget.ends))
    return Text(f"Budget: {budget.budget:g} USD, {budget.spent:.2f} spent; hosts power off at {end}")


def write_price(usd: float) -> str:
    """Write a price per hour: of small ones, cents are too coarse."""
    return f"{usd:.2f}" if usd >= 10 else f"{usd:.4f}"


def write_month(usd: float | None) -> str:
    """Write the highest price of snapshots per month."""
    return "price unknown" if usd is None else f"at most {usd:.2f} USD per month"
