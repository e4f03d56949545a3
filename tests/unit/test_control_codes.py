"""Control codes in text from hosts."""

from __future__ import annotations

import pytest

from flambe_ansible.control_codes import OutputFilter, strip

CLIPBOARD = "\x1b]52;c;cm0gLXJmIH4=\x07"
TITLE = "\x1b]0;you\x1b\\"
REPORT = "\x1b[6n"  # the terminal types the answer into the shell
COLOUR = "\x1b[1;31mred\x1b[0m"
PROGRESS = "\r\x1b[2K 10%\x1b[1A\x1b[?25l"


@pytest.mark.parametrize(
    ("text", "stripped", "filtered"),
    [
        ("a é ü\tb\n", "a é ü\tb\n", "a é ü\tb\n"),
        (f"a{CLIPBOARD}b", "ab", "ab"),
        (f"a{TITLE}b", "ab", "ab"),
        (f"a{REPORT}b", "ab", "ab"),
        ("a\x9b6nb\x9d0;x\x9cc\x85", "abc", "abc"),
        ("a\x1bcb\x1b(0c\x1bP+q\x1b\\d\x1b_x\x07e", "abcde", "abcde"),
        ("a\x1b]52;c;endless\nb", "a52;c;endless\nb", "a52;c;endless\nb"),
        ("a\x00b\x0ec\x1b", "abc", "abc"),
        (COLOUR, "red", COLOUR),
        ("one\r\ntwo", "one\ntwo", "one\r\ntwo"),
        (PROGRESS, " 10%", PROGRESS),
        ("a\x1b[?1049hb\x1b[21tc\x1b[4ld", "abcd", "abcd"),
    ],
)
def test_what_is_left(text: str, stripped: str, filtered: str) -> None:
    assert strip(text) == stripped
    assert OutputFilter()(text, final=True) == filtered


def test_a_sequence_in_two_parts() -> None:
    text = f"one{CLIPBOARD}two{COLOUR}three{TITLE}{REPORT}four"
    for cut in range(len(text)):
        clean = OutputFilter()
        assert clean(text[:cut]) + clean(text[cut:], final=True) == f"onetwo{COLOUR}threefour"
