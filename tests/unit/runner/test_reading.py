"""The log of the last job: all of it, or its last lines."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import reading


@pytest.fixture
def show(
    make_settings: Callable[..., Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Callable[..., list[str]]:
    """Return a function that writes a log and returns the lines that are shown of it."""
    log = tmp_path / "output.log"
    found = {"state": "succeeded", "active": False, "log": str(log), "id": "1"}
    monkeypatch.setattr(reading.controlling, "describe", lambda _settings: found)

    def show_(content: bytes, lines: int = 0) -> list[str]:
        log.write_bytes(content)
        assert reading.show(make_settings(), False, lines) == 0
        return capsys.readouterr().out.splitlines()

    return show_


@pytest.mark.parametrize("block", [1, 7, 65536])
@pytest.mark.parametrize("count", [1, 2, 3, 100])
@pytest.mark.parametrize("end", [b"", b"\n", b"rest", b"\r\n\r\n", "\x1b[0mé".encode()])
def test_the_last_lines_are_the_end_of_all(
    show: Callable[..., list[str]], monkeypatch: pytest.MonkeyPatch, block: int, count: int, end: bytes
) -> None:
    monkeypatch.setattr(reading, "_BLOCK", block)
    content = "".join(f"line {number} é\n\n" for number in range(20)).encode() + b"10%\r20%\r\x1b[1mbold\x1b[0m\n" + end
    everything = show(content)
    assert everything[:2] == ["line 0 é", "line 1 é"]
    assert show(content, count) == everything[-count:]


def test_an_empty_log(show: Callable[..., list[str]]) -> None:
    assert show(b"") == show(b"", 5) == []


def test_only_the_end_of_a_long_log_is_read(capsys: pytest.CaptureFixture[str]) -> None:
    class Counting(io.BytesIO):
        total = 0

        def read(self, size: int | None = -1, /) -> bytes:
            chunk = super().read(size)
            self.total += len(chunk)
            return chunk

    file = Counting(b"a line of the log\n" * 1_000_000)
    reading._print_last(file, 5)
    assert capsys.readouterr().out.splitlines() == ["a line of the log"] * 5
    assert file.total == reading._BLOCK


def test_follow_starts_with_the_last_lines(
    make_settings: Callable[..., Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    log = tmp_path / "output.log"
    log.write_text("one\ntwo\nthree\nfo")
    states = iter([True, True, False])
    finished = threading.Event()

    def describe(_settings: Any) -> dict[str, Any]:
        active = next(states)
        if not active:
            with log.open("a") as file:
                file.write("ur\nfive")
            finished.set()
        return {"state": "running", "active": active, "log": str(log), "id": "1"}

    monkeypatch.setattr(reading.controlling, "describe", describe)
    monkeypatch.setattr(reading, "_ASK_SECONDS", 0.0)
    assert reading.show(make_settings(), True, 2) == 0
    assert finished.is_set()
    assert capfd.readouterr().out.splitlines() == ["three", "four", "five"]
