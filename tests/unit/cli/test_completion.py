"""Completion in real shells on a terminal: bash, zsh and fish."""

from __future__ import annotations

import os
import pty
import re
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.cli.conftest import Run

ROOT = Path(__file__).parents[3]
SECONDS = 30.0
# How a shell starts without the files of this machine's user, and how docs/cli.md installs the completion.
SHELLS = {
    "bash": (["bash", "--norc", "--noprofile", "-i"], 'eval "$(flambe-ans completion bash)"'),
    "zsh": (["zsh", "-f", "-i"], 'autoload -Uz compinit; compinit -u -D; eval "$(flambe-ans completion zsh)"'),
    "fish": (
        ["fish", "-i"],
        "mkdir -p ~/.config/fish/completions; flambe-ans completion fish > ~/.config/fish/completions/flambe-ans.fish",
    ),
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with files of clusters, and flambe-ans as a program."""
    (tmp_path / "gpu cluster.yaml").write_text("!LabCluster\nname: a\nfactories_num: 12\n")
    (tmp_path / "rack.yml").write_text("!SSHCluster\nfactories_ips: [a, b, c]\n")
    (tmp_path / "notes.txt").touch()
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep/lab.yaml").write_text("!LabCluster\nname: a\n")
    program = tmp_path / "bin" / "flambe-ans"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -c "from flambe_ansible.cli import main; main()" "$@"\n')
    program.chmod(0o755)
    return tmp_path


class Shell:
    """An interactive shell on a terminal of its own, with the completion of flambe-ans."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        argv, install = SHELLS[name]
        self.master, slave = pty.openpty()
        environment = {
            "PATH": f"{folder}/bin:{os.environ['PATH']}", "PYTHONPATH": str(ROOT), "TERM": "dumb", "PS1": "ready> ",
            "HOME": str(folder), "COLUMNS": "200",
        }  # fmt: skip
        self.process = subprocess.Popen(
            ["setsid", "--ctty", "--wait", *argv], stdin=slave, stdout=slave, stderr=slave, cwd=folder, env=environment,
        )  # fmt: skip
        os.close(slave)
        self.output = ""
        self.send(f'{install}; echo loa"ded"\n')
        self.expect("loaded")

    def send(self, text: str) -> None:
        os.write(self.master, text.encode())

    def expect(self, text: str) -> None:
        """Read until a text appears."""
        end = time.monotonic() + SECONDS
        while text not in self.output:
            ready, _, _ = select.select([self.master], [], [], max(end - time.monotonic(), 0))
            assert ready, f"{text!r} is not in {self.output!r}"
            self.output += re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]|\x07", "", os.read(self.master, 4096).decode())

    def complete(self, line: str, expected: str) -> None:
        """Type a line and a tab; the line then continues as expected."""
        self.output = ""
        self.send(f"{line}\t")
        self.expect(f"{line}{expected}")
        self.send("\x15")  # clear the line

    def end(self) -> None:
        """Hang up the terminal, which ends the shell."""
        os.close(self.master)
        self.process.wait(SECONDS)


@pytest.fixture(params=SHELLS)
def shell(request: pytest.FixtureRequest, folder: Path) -> Iterator[Shell]:
    if not shutil.which(request.param):
        pytest.skip(f"{request.param} is not installed; scripts/test installs it")
    made = Shell(request.param, folder)
    yield made
    made.end()


def test_shells_complete_commands_files_and_hosts(shell: Shell) -> None:
    shell.complete("flambe-ans compl", "etion ")
    shell.complete("flambe-ans completion z", "sh ")
    shell.complete("flambe-ans status ra", "ck.yml ")
    shell.complete("flambe-ans status gpu", r"\ cluster.yaml ")
    shell.complete('flambe-ans status "gpu', ' cluster.yaml" ')
    shell.complete(r"flambe-ans ssh gpu\ cluster.yaml factory 11", " ")
    shell.complete("flambe-ans status de", "ep/")
    shell.complete("flambe-ans status deep/", "lab.yaml ")
    shell.complete("flambe-ans submit --cluster ra", "ck.yml ")
    shell.complete("flambe-ans ssh rack.yml orch", "estrator ")
    shell.complete("flambe-ans ssh rack.yml fac", "tory ")
    shell.complete("flambe-ans ssh rack.yml factory 2", " ")
    shell.complete("flambe-ans exec rack.yml --on fac", "tories ")
    shell.complete("flambe-ans launch rack.yml --dry", "-run ")


def test_a_path_in_the_home_folder_stays_one(shell: Shell, folder: Path) -> None:
    shell.output = ""
    shell.send("flambe-ans status ~/ra\t")
    shell.expect(f"{folder if shell.name == 'zsh' else '~'}/rack.yml ")


def test_the_second_tab_lists_what_is_possible(shell: Shell) -> None:
    shell.output = ""
    shell.send("flambe-ans ssh rack.yml factory \t\t")
    shell.expect("factory 0 " if shell.name == "fish" else "0  1  2")  # fish inserts the first


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["status", ""], ["gpu cluster.yaml", "rack.yml"]),
        (["status", "./g"], ["./gpu cluster.yaml"]),
        (["status", "~/r"], ["~/rack.yml"]),
        (["status", "notes"], ["notes"]),  # the shell completes folders
        (["status", "missing/"], ["missing/"]),
        (["ssh", "gpu cluster.yaml", "factory", "1"], ["1", "10", "11"]),
        (["ssh", "deep/lab.yaml", "factory", ""], ["0"]),
        (["ssh", "missing.yaml", "factory", ""], ["0"]),
        (["ssh", "rack.yml", "factory", "1", ""], []),
        (["ssh", "rack.yml", "o"], ["orchestrator"]),
        (["remove", "rack.yml", ""], ["factory"]),
        (["remove", "rack.yml", "factory", ""], ["0", "1", "2"]),
        (["down", "r"], ["rack.yml"]),
        (["submit", "r"], ["rack.yml"]),
    ],
)
def test_values(folder: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], expected: list[str]) -> None:
    from click.shell_completion import ShellComplete

    from flambe_ansible.cli.app import app

    monkeypatch.chdir(folder)
    monkeypatch.setenv("HOME", str(folder))
    completer = ShellComplete(app, {}, "flambe-ans", "_FLAMBE_ANS_COMPLETE")
    assert [item.value for item in completer.get_completions(words[:-1], words[-1])] == expected


def test_an_unknown_shell_is_refused(run: Run) -> None:
    done = run("completion", "csh")
    assert (done.code, done.stdout) == (2, "")
    assert "'csh' is not one of 'bash', 'zsh', 'fish'" in done.stderr
