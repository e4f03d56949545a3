"""Text helpers shared by several views."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime

from rich.cells import cell_len
from rich.console import Console
from rich.containers import Lines
from rich.table import Table
from rich.text import Text

from flambe_ansible.hosts import Host, Role

MANY_HOSTS = 16  # more hosts than that are summarized
_MOST_NAMES = 4  # of hosts, without ranges
_NUMBERED = re.compile(r"(.*[^0-9.])(0|[1-9][0-9]*)")  # a name with a number at its end, no address
# A word, and the space after it.
_WORD = re.compile(r"\S+\s*")
_SHELL_WORD = re.compile(r"""(?:'[^']*'|"[^"]*"|[^\s'"])+\s*""")
_CONTINUED = " " * 8  # the indent of the next lines of a command


def format_seconds(seconds: float) -> str:
    """Write a duration in at most five characters: ``0.4s``, ``12s``, ``3m05``, ``2h07``."""
    if seconds < 9.95:
        return f"{seconds:.1f}s"
    whole = round(seconds)
    if whole < 100:
        return f"{whole}s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes}m{rest:02d}"
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes:02d}"


def format_time(text: str) -> str:
    """Write an ISO 8601 time in local time: ``12:03``, with its date if that is not today's."""
    moment = datetime.fromisoformat(text).astimezone()
    return f"{moment:%H:%M}" if moment.date() == datetime.now(UTC).astimezone().date() else f"{moment:%Y-%m-%d %H:%M}"


def shorten_host(name: str, cluster: str) -> str:
    """Remove the cluster's name from a host's name: ``demo_factory_0`` of ``demo`` becomes ``factory 0``."""
    short = name.removeprefix(f"{cluster}_")
    return short.replace("_", " ") if short != name else name


def label_host(host: Host) -> str:
    """Name a host within its cluster: ``orchestrator``, ``factory 0``."""
    return "orchestrator" if host.role is Role.ORCHESTRATOR else f"factory {host.index}"


def list_hosts(names: Sequence[str]) -> str:
    """List hosts by their short names; of many, factories with successive numbers as ranges.

    ``orchestrator, factory 0`` and ``orchestrator, factory 0-9, factory 12``.
    """
    if len(names) <= _MOST_NAMES:
        return ", ".join(names)
    groups: list[tuple[str, list[int]]] = []  # the text before the number, and successive numbers
    for name in names:
        found = _NUMBERED.fullmatch(name)
        kind, number = found.groups() if found else (name, "")
        if groups and number and groups[-1][0] == kind and groups[-1][1][-1:] == [int(number) - 1]:
            groups[-1][1].append(int(number))
        else:
            groups.append((kind, [int(number)] if number else []))
    return ", ".join(_write_range(*group) for group in groups)


def _write_range(kind: str, numbers: Sequence[int]) -> str:
    if not numbers:
        return kind
    return f"{kind}{numbers[0]}" if len(numbers) == 1 else f"{kind}{numbers[0]}-{numbers[-1]}"


def count(number: int, noun: str) -> str:
    """Write a number with its noun: ``1 host``, ``3 hosts``."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def make_table(*headers: str) -> Table:
    """Make a table without lines; long values are folded."""
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for header in headers:
        table.add_column(header, overflow="fold")
    return table


def make_grid(*, style: str = "") -> Table:
    """Make a grid of labels and values, the values in a style."""
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(overflow="fold", style=style)
    return grid


def wrap(console: Console, text: Text) -> list[Text]:
    """Wrap a line at words to the console's width; the indent and quote mark of its start are repeated.

    A word longer than a line is not broken, so that paths and URLs can be copied.
    """
    match = re.match(r"\s*(\| )?", text.plain)
    indent = match.end() if match else 0
    margin, rest = text[:indent], text[indent:]
    width = max(console.width - indent, 20)
    return [Text.assemble(margin, part) for line in rest.split(allow_blank=True) for part in _divide(line, width)]


def wrap_command(console: Console, line: Text) -> list[Text]:
    """Wrap a line with a command at the words of the shell, so that it can be pasted; a comment gets its own line."""
    if cell_len(line.plain) <= console.width:
        return [line]
    command, mark, comment = line.plain.partition("   # ")
    width = max(console.width - len(_CONTINUED) - 2, 20)
    parts = _divide(line[: len(command)], width, _SHELL_WORD)
    lines = [Text.assemble(_CONTINUED if index else "", part, " \\") for index, part in enumerate(parts)]
    lines[-1].right_crop(2)
    return lines + [Text.assemble(_CONTINUED, "# ", part) for part in _divide(Text(comment), width) if mark]


def _divide(line: Text, width: int, words: re.Pattern[str] = _WORD) -> Lines:
    """Divide a line before each word that would exceed the width."""
    parts = line.divide(_find_breaks(line.plain, width, words))
    for part in parts:
        part.rstrip()
    return parts


def _find_breaks(text: str, width: int, words: re.Pattern[str]) -> list[int]:
    """Find where the lines after the first start."""
    starts, used = [], 0  # the width of the current line
    for word in words.finditer(text):
        if used and used + cell_len(word[0].rstrip()) > width:
            starts.append(word.start())
            used = 0
        used += cell_len(word[0])
    return starts
