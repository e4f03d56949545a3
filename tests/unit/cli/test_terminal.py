"""Output to a terminal: the live table, the prompt, colours, and terminals with fewer capabilities."""

from __future__ import annotations

import os
import pty
import re
import struct
import subprocess
import sys
import termios
from fcntl import ioctl

import pytest

PROGRAM = """
import sys, time
import flambe_ansible.cluster.loading
from flambe_ansible.cli import run
from tests.unit.cli.made_up import FakeCluster, HOSTS
from flambe_ansible.events import Status, StepEvent

class Slow(FakeCluster):
    def run(self, **options):
        for step in ("boot", "connect"):
            self.observer(StepEvent(host=HOSTS[0].name, step=step, status=Status.RUNNING))
            time.sleep(0.4)
            self.observer(StepEvent(host=HOSTS[0].name, step=step, status=Status.OK))
        return super().run(**options)

flambe_ansible.cluster.loading.load_cluster = lambda file: Slow()
sys.exit(run(sys.argv[1:]))
"""
CURSOR = re.compile(r"\x1b\[\??\d*[A-HJKhl]")  # move, erase, show or hide
COLOUR = re.compile(r"\x1b\[[\d;]*m")


def launch(*arguments: str, answer: str = "", width: int = 80, **environment: str) -> tuple[int, str]:
    """Launch with a terminal, send an answer, and return the exit code and the output."""
    master, slave = pty.openpty()
    ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, width, 0, 0))
    kept = {
        key: value for key, value in os.environ.items() if key not in {"NO_COLOR", "FORCE_COLOR", "COLUMNS", "LINES"}
    }
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, *arguments],
        stdin=slave,
        stdout=slave,
        stderr=slave,
        env={**kept, "TERM": "xterm-256color", **environment},
    )
    os.close(slave)
    os.write(master, answer.encode())
    printed = b""
    while True:
        try:
            chunk = os.read(master, 65536)
        except OSError:  # the other side is closed
            break
        if not chunk:
            break
        printed += chunk
    os.close(master)
    return process.wait(120), printed.decode()


def strip(text: str) -> str:
    return COLOUR.sub("", CURSOR.sub("", text))


def test_the_question_and_the_live_table() -> None:
    code, text = launch("launch", "c.yaml", answer="y\n")
    assert code == 0
    assert "Create 3 hosts? [y/N]" in strip(text)
    assert CURSOR.search(text)
    assert COLOUR.search(text)
    assert "demo is running" in strip(text)
    assert re.findall(r"\x1b\[\?25[hl]", text)[-1] == "\x1b[?25h"  # the cursor is shown again


def test_end_of_file_declines() -> None:
    code, text = launch("launch", "c.yaml", answer="\x04")
    assert code == 130
    assert "nothing was created" in strip(text)


@pytest.mark.parametrize("width", [80, 120])
def test_no_line_is_wider_than_the_terminal(width: int) -> None:
    _, text = launch("launch", "c.yaml", "--yes", width=width)
    lines = re.split(r"[\r\n]+", strip(text))
    assert max(len(line) for line in lines if not line.startswith("ssh -i")) <= width  # this line is for copying


def test_no_color_disables_colours() -> None:
    code, text = launch("launch", "c.yaml", "--yes", NO_COLOR="1")
    assert code == 0
    assert not re.search(r"\x1b\[[\d;]*3[0-7]", text)


def test_a_dumb_terminal_receives_plain_lines() -> None:
    code, text = launch("launch", "c.yaml", "--yes", TERM="dumb")
    assert code == 0
    assert "\x1b" not in text
    assert "demo_orchestrator: connect ok in" in text


def test_plain_ascii_locales_work() -> None:
    code, text = launch("launch", "c.yaml", "--yes", PYTHONIOENCODING="ascii", PYTHONUTF8="0")
    assert code == 0
    assert "demo is running" in strip(text)
