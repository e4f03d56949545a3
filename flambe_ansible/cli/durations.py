"""Durations as arguments: a number with m, h or d."""

from __future__ import annotations

import re

import rich_click as click

UNITS = {"m": 60, "h": 3600, "d": 86_400}
LONGEST = 168 * 3600  # seconds
PATTERN = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,9})?)([mhd])")


def read_duration(text: str, *, name: str = "DURATION") -> float:
    """Read a duration such as ``30m``; return it in seconds. ``name`` is that of the argument, for the message."""
    match = PATTERN.fullmatch(text)
    seconds = float(match[1]) * UNITS[match[2]] if match else -1.0
    if not 0 <= seconds <= LONGEST or 0 < seconds < 1:
        raise click.UsageError(
            f"{name} is {text!r}; expected a number with m, h or d, such as 30m, 2h or 1d, at most 7d"
        )
    return seconds
