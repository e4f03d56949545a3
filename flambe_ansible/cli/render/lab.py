"""A lab and its hosts as a table."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.text import Text

from flambe_ansible.cli.render.words import make_table

if TYPE_CHECKING:
    from flambe_ansible.lab import LabStatus


def render_lab(found: LabStatus) -> RenderableType:
    """Draw the state of a lab: its endpoint, and a line per host."""
    word, style = ("up", "bold green") if found.up else ("down" if found.exists else "absent", "bold")
    title = Text.assemble("Lab ", (found.name, "bold"), " is ", (word, style))
    if found.info and found.up:
        title.append(f": {found.info.endpoint}, network {found.info.network}")
    if not found.hosts:
        return title
    table = make_table("instance", "name", "state", "address", "type")
    for host in found.hosts:
        table.add_row(host.id, host.name, host.state, host.private_ip, host.instance_type)
    return Group(title, Text(), table)
