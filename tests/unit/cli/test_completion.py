"""Completion in shells: a real bash on a terminal, and what the other shells get."""

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


class Bash:
    """An interactive bash on a terminal, with the completion of flambe-ans."""

    def __init__(self, folder: Path) -> None:
        self.master, slave = pty.openpty()
        environment = {
            "PATH": f"{folder}/bin:{os.environ['PATH']}", "PYTHONPATH": str(ROOT), "TERM": "dumb", "PS1": "ready> ",
            "HOME": str(folder), "COLUMNS": "200",
        }  # fmt: skip
        self.process = subprocess.Popen(
            ["bash", "--norc", "--noprofile", "-i"], stdin=slave, stdout=slave, stderr=slave, cwd=folder,
            env=environment, start_new_session=True,
        )  # fmt: skip
        os.close(slave)
        self.output = ""
        self.send('eval "$(flambe-ans completion bash)"; echo loa"ded"\n')
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
        self.process.kill()
        self.process.wait()
        os.close(self.master)


@pytest.fixture
def bash(folder: Path) -> Iterator[Bash]:
    made = Bash(folder)
    yield made
    made.end()


def test_bash_completes_commands_files_and_hosts(bash: Bash) -> None:
    bash.complete("flambe-ans compl", "etion ")
    bash.complete("flambe-ans completion z", "sh ")
    bash.complete("flambe-ans status ra", "ck.yml ")
    bash.complete("flambe-ans status de", "ep/")
    bash.complete("flambe-ans status deep/", "lab.yaml ")
    bash.complete("flambe-ans submit --cluster ra", "ck.yml ")
    bash.complete("flambe-ans ssh rack.yml orch", "estrator ")
    bash.complete("flambe-ans ssh rack.yml fac", "tory ")
    bash.complete("flambe-ans exec rack.yml --on fac", "tories ")
    bash.output = ""
    bash.send("flambe-ans ssh rack.yml factory \t\t")
    bash.expect("0  1  2")


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
    ],
)
def test_values(folder: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], expected: list[str]) -> None:
    from click.shell_completion import ShellComplete

    from flambe_ansible.cli.app import app

    monkeypatch.chdir(folder)
    monkeypatch.setenv("HOME", str(folder))
    completer = ShellComplete(app, {}, "flambe-ans", "_FLAMBE_ANS_COMPLETE")
    assert [item.value for item in completer.get_completions(words[:-1], words[-1])] == expected


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_is_read_by_its_shell(run: Run, shell: str, tmp_path: Path) -> None:
    done = run("completion", shell)
    assert (done.code, done.stderr) == (0, "")
    assert f"_FLAMBE_ANS_COMPLETE={shell}_complete" in done.stdout
    script = tmp_path / "script"
    script.write_text(done.stdout)
    if program := shutil.which(shell):
        subprocess.run([program, "-n", script], check=True)


def test_an_unknown_shell_is_refused(run: Run) -> None:
    done = run("completion", "csh")
    assert (done.code, done.stdout) == (2, "")
    assert "'csh' is not one of 'bash', 'zsh', 'fish'" in done.stderr
