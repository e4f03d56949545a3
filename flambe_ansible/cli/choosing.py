"""A numbered choice on the terminal."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from flambe_ansible.cli.output import Output


def choose(output: Output, title: str, rows: Sequence[tuple[str, str]], *, empty: str) -> str:
    """Offer rows of a value and its description, and return the chosen value.

    Args:
        output: The terminal.
        title: What they are.
        rows: The values; without any, nothing is asked.
        empty: The meaning of an empty answer, and of the end of the input.

    Returns:
        The value, or "" for an empty answer.
    """
    if not rows:
        return ""
    output.say(f"{title}:")
    for number, (value, about) in enumerate(rows, start=1):
        output.say(f"  {number:>2}  {value}  {about}".rstrip())
    while True:
        output.console.print(f"Number, or Enter for {empty}:", end=" ", soft_wrap=True)
        output.console.file.flush()
        answer = sys.stdin.readline().strip()
        if not answer:
            return ""
        if answer.isdecimal() and 1 <= int(answer) <= len(rows):
            return rows[int(answer) - 1][0]
        output.say(f"Expected a number from 1 to {len(rows)}.")
