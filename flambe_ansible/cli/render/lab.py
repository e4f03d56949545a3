"""A lab and its hosts as a table."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

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
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for header in ("instance", "name", "state", "address", "type"):
        table.add_column(header, overflow="fold")
    for host in found.hosts:
        table.add_row(host.id, host.name, host.state, host.private_ip, host.instance_type)
    return Group(title, Text(), table)
