"""Plain lines from the output of a command."""

from __future__ import annotations

import pytest
from text import Lines, clean


@pytest.mark.parametrize(
    ("printed", "expected"),
    [
        (b"\x1b[32m04:01:27 | Done\x1b[0m", "04:01:27 | Done"),
        (b"plain", "plain"),
        (b"\xc3\xa9t\xc3\xa9 \xff", "été \N{REPLACEMENT CHARACTER}"),
        (b"tab\there \x07bell  ", "tab\there bell"),
        (b"", ""),
    ],
)
def test_clean(printed: bytes, expected: str) -> None:
    assert clean(printed) == expected


def test_chunks_and_progress_bars_become_lines() -> None:
    lines = Lines()
    assert lines.feed(b"one\ntw") == ["one"]
    assert lines.feed(b"o\r\n\n 0%|  |\r50%|# |\rthr") == ["two", " 0%|  |", "50%|# |"]
    assert lines.end() == ["thr"]
    assert lines.end() == []


def test_a_long_line_without_an_end_is_passed_on() -> None:
    lines = Lines()
    assert lines.feed(b"x" * 9000) == ["x" * 9000]
