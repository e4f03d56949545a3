"""Baked images: a table, and as a document."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from rich.console import RenderableType
from rich.text import Text

from flambe_ansible.cli.render.costs import write_month
from flambe_ansible.cli.render.words import make_table
from flambe_ansible.ec2.baked import BakedImage

SCHEMA_VERSION = 1  # of the JSON document
DIGITS = 6  # of amounts in it
Price = Callable[[int], float | None]  # the highest price of snapshots of so many GB, in US dollars per month


def render_images(images: Sequence[BakedImage], price: Price) -> RenderableType:
    """Draw the lines of each image."""
    if not images:
        return Text("There are no baked images.")
    table = make_table("image", "installed", "state", "created")
    table.columns[0].no_wrap = True
    for one in images:
        created = f"{one.created.astimezone():%Y-%m-%d %H:%M}" if one.created else ""
        table.add_row(one.id, one.runtime, one.state, created)
        table.add_row("", Text(f"on {one.base}, for {one.cluster} of {one.creator}", style="dim"))
        table.add_row("", Text(write_month(price(one.stored)), style="dim"))
    return table


def describe(images: Sequence[BakedImage], price: Price) -> dict[str, Any]:
    """Return the documented JSON document."""
    return {"schema_version": SCHEMA_VERSION, "images": [_describe(one, price(one.stored)) for one in images]}


def _describe(one: BakedImage, usd: float | None) -> dict[str, Any]:
    return {
        "id": one.id,
        "name": one.name,
        "state": one.state,
        "runtime": one.runtime,
        "recipe": one.recipe,
        "base": one.base,
        "cluster": one.cluster,
        "creator": one.creator,
        "created": one.created.strftime("%Y-%m-%dT%H:%M:%SZ") if one.created else None,
        "size_gb": one.size,
        "architecture": one.architecture,
        "snapshots": list(one.snapshots),
        "usd_per_month": None if usd is None else round(usd, DIGITS),
    }
