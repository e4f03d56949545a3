"""Baked images: a table, and as a document."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.console import RenderableType
from rich.text import Text

from flambe_ansible.cli.render.words import make_table
from flambe_ansible.ec2.baked import BakedImage

SCHEMA_VERSION = 1  # of the JSON document


def render_images(images: Sequence[BakedImage]) -> RenderableType:
    """Draw a line per image."""
    if not images:
        return Text("There are no baked images.")
    table = make_table("image", "installed", "state", "created")
    table.columns[0].no_wrap = True
    for one in images:
        created = f"{one.created.astimezone():%Y-%m-%d %H:%M}" if one.created else ""
        table.add_row(one.id, one.runtime, one.state, created)
        table.add_row("", Text(f"on {one.base}, for {one.cluster} of {one.creator}", style="dim"))
    return table


def describe(images: Sequence[BakedImage]) -> dict[str, Any]:
    """Return the documented JSON document."""
    return {"schema_version": SCHEMA_VERSION, "images": [_describe(one) for one in images]}


def _describe(one: BakedImage) -> dict[str, Any]:
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
    }
