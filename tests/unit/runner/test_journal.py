"""The lines that the journal gets."""

from __future__ import annotations

import pytest
from journal import _PER_SECOND, Journal


def test_lines_above_the_limit_are_counted(capsys: pytest.CaptureFixture[str]) -> None:
    clock = [10.0]
    journal = Journal("output.log", clock=lambda: clock[0])
    journal.write([str(number) for number in range(_PER_SECOND - 1)])
    journal.write(["last", "too", "many"])
    journal.write(["again"])
    journal.print("in any case")
    clock[0] += 1
    journal.write(["next second"])
    journal.report()
    shown = capsys.readouterr().out.splitlines()
    assert len(shown) == _PER_SECOND + 3
    assert shown[-4:] == ["last", "in any case", "[3 more lines in output.log]", "next second"]
