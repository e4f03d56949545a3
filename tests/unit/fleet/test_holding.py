"""The program that holds the reservation of a cluster: real processes on this machine."""

from __future__ import annotations

import calendar
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from flambe_ansible.fleet import holding

ANN = {"who": "ann@laptop", "what": "launch"}
Hold = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder like /tmp, which every user can write to."""
    path = tmp_path / "locks"
    path.mkdir()
    path.chmod(0o1777)
    return path


@pytest.fixture
def hold(folder: Path) -> Iterator[Hold]:
    started = []

    def start(holder: dict[str, str], *, silence: float = 60.0) -> subprocess.Popen[str]:
        call = f"hold({holder!r}, {silence}, folders=['/missing', {str(folder)!r}])"
        program = Path(holding.__file__).read_text() + f"\n{call}\n"
        process = subprocess.Popen(
            [sys.executable, "-I", "-c", program],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={"SSH_CONNECTION": "10.0.0.7 40000 10.0.0.1 22"},
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe:
                pipe.close()


def read_answer(process: subprocess.Popen[str]) -> dict[str, Any]:
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line.startswith(holding.MARK)
    answer: dict[str, Any] = json.loads(line.removeprefix(holding.MARK))
    return answer


def test_the_second_is_refused_and_learns_who_holds_it(folder: Path, hold: Hold) -> None:
    assert holding.show([str(folder)]) is None
    first = hold(ANN)
    assert read_answer(first) == {"held": True}
    holder = holding.show([str(folder)])
    assert holder is not None
    assert holder == {**ANN, "since": holder["since"], "from": "10.0.0.7"}
    assert abs(time.time() - _read_time(holder["since"])) < 60
    assert read_answer(hold({"who": "bob@desk", "what": "submit"})) == {"held": False, "holder": holder}
    assert oct((folder / holding.FILE).stat().st_mode)[-3:] == "666"


def _read_time(text: str) -> float:
    return calendar.timegm(time.strptime(text, "%Y-%m-%dT%H:%M:%SZ"))


@pytest.mark.parametrize("end", ["its input ends", "it is killed", "it receives nothing"])
def test_it_is_free_once_the_holder_is_gone(folder: Path, hold: Hold, end: str) -> None:
    first = hold(ANN, silence=1.0 if end == "it receives nothing" else 60.0)
    assert read_answer(first)["held"]
    assert first.stdin is not None
    if end == "its input ends":
        first.stdin.close()
    elif end == "it is killed":
        first.kill()
    assert first.wait(30) == (-9 if end == "it is killed" else 0)
    assert holding.show([str(folder)]) is None
    assert read_answer(hold({"who": "bob@desk", "what": "launch"})) == {"held": True}


def test_input_keeps_it(hold: Hold) -> None:
    first = hold(ANN, silence=2.0)
    assert read_answer(first)["held"]
    assert first.stdin is not None
    for _ in range(8):
        time.sleep(0.5)
        first.stdin.write("\n")
        first.stdin.flush()
    with suppress(subprocess.TimeoutExpired):
        pytest.fail(f"it ended with {first.wait(0.2)}")


def test_a_file_that_was_replaced_is_locked_anew(folder: Path, hold: Hold) -> None:
    assert read_answer(hold(ANN))["held"]
    (folder / holding.FILE).unlink()
    assert read_answer(hold(ANN))["held"]
    assert not read_answer(hold(ANN))["held"]


def test_a_link_is_not_followed(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "victim").write_text("precious")
    (folder / holding.FILE).symlink_to(tmp_path / "victim")
    with pytest.raises(OSError, match="symbolic links"):
        holding.hold(ANN, 1.0, [str(folder)])
    assert (tmp_path / "victim").read_text() == "precious"
