"""Closed output streams and Ctrl-C: commands end at once, also on the hosts."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from flambe_ansible.cli import remote

ROOT = Path(__file__).parents[3]
PROGRAM = """
import sys
from types import SimpleNamespace
import flambe_ansible.cluster.loading
from flambe_ansible.cli import run
from flambe_ansible.jobs.jobs import Jobs
from tests.unit.cli.made_up import FakeCluster, HOSTS
from tests.unit.cli.test_hosts import LocalConnections

class Local(FakeCluster):
    connections = LocalConnections()
    fleet = SimpleNamespace(head=HOSTS[0])
    runs_commands = False
    file_jobs = Jobs(SimpleNamespace(fleet=fleet), SimpleNamespace(command="./flambe-run"))
    def attach_each(self, hosts):
        return {}
    def attach_job(self):
        pass

flambe_ansible.cluster.loading.load_cluster = lambda file: Local()
sys.exit(run(sys.argv[1:]))
"""


def start(
    folder: Path, *arguments: str, pipe_to: str = "", redirect: str = "", warnings: str = ""
) -> subprocess.Popen[str]:
    """Start a command whose hosts are local shells; the exit code is that of the first command of a pipe."""
    argv = [sys.executable, "-c", PROGRAM, *arguments]
    if pipe_to or redirect:
        pipe = f'| {pipe_to}; exit "${{PIPESTATUS[0]}}"' if pipe_to else ""
        argv = ["bash", "-c", f'"$@" {redirect} {pipe}', "bash", *argv]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "SHELL": "/bin/sh", "PYTHONWARNINGS": warnings}
    return subprocess.Popen(
        argv, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def wait_until_gone(pid: int) -> bool:
    """Wait for the end of a process that is not a child of this one."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        state = Path(f"/proc/{pid}/stat")
        try:
            if state.read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except FileNotFoundError:
            return True
        time.sleep(0.05)
    return False


@pytest.mark.parametrize("command", ["seq 1 2000000", "echo one; echo two; exec sleep 300"])
def test_exec_ends_when_its_output_is_closed(tmp_path: Path, command: str) -> None:
    process = start(tmp_path, "exec", "c.yaml", "--", command, pipe_to="head -1")
    out, err = process.communicate(timeout=30)
    assert (process.returncode, len(out.splitlines()), err) == (141, 1, "")


@pytest.mark.parametrize("loop", ["while :; do echo line; done", "echo line; exec sleep 300"])
def test_logs_end_when_their_output_is_closed(tmp_path: Path, loop: str) -> None:
    program = tmp_path / "flambe-run"
    program.write_text(f"#!/bin/sh\necho $$ > pid\n{loop}\n")
    program.chmod(0o755)
    process = start(tmp_path, "logs", "c.yaml", "--follow", pipe_to="head -1")
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out, err) == (141, "line\n", "")
    assert wait_until_gone(int((tmp_path / "pid").read_text()))


@pytest.mark.parametrize("arguments", [("status", "c.yaml"), ("launch", "c.yaml", "--yes"), ("--help",)])
def test_every_command_ends_quietly_when_its_output_is_closed(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    process = start(tmp_path, *arguments, pipe_to="true")
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out, err) == (141, "", "")


@pytest.mark.parametrize("arguments", [("status", "nope", "--json"), ("lauch",), ("status", "c.yaml", "--debug", "-x")])
def test_errors_end_quietly_when_their_output_is_closed(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    process = start(tmp_path, *arguments, pipe_to="true", redirect="2>&1")
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out, err) == (141, "", "")


@pytest.mark.parametrize("redirect", [">&-", ">&- 2>&-", "<&- >&- 2>&-"])
@pytest.mark.parametrize("arguments", [("status", "c.yaml"), ("exec", "c.yaml", "--", "echo one")])
def test_a_missing_stream_is_not_an_error(tmp_path: Path, redirect: str, arguments: tuple[str, ...]) -> None:
    process = start(tmp_path, *arguments, redirect=redirect)
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out, err) == (0, "", "")


@pytest.mark.parametrize(
    "arguments", [("status", "c.yaml"), ("status", "--help"), ("exec", "c.yaml", "--", "echo one")]
)
def test_a_full_disk_is_an_error_of_two_lines(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    process = start(tmp_path, *arguments, redirect=">/dev/full")
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out) == (1, "")
    assert err.splitlines()[0] == "error: this machine: cannot write: No space left on device"
    assert len(err.splitlines()) == 2


def test_an_error_that_cannot_be_printed_keeps_its_exit_code(tmp_path: Path) -> None:
    process = start(tmp_path, "lauch", redirect="2>/dev/full")
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out, err) == (2, "", "")


def test_exec_closes_the_streams_of_its_processes(tmp_path: Path) -> None:
    process = start(tmp_path, "exec", "c.yaml", "--", "echo one", warnings="error::ResourceWarning")
    _, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (0, "")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_exec_leaves_nothing_running_on_the_hosts(tmp_path: Path, number: signal.Signals) -> None:
    command = "echo $$; sleep 300 & echo $!; trap '' INT; wait"
    process = start(tmp_path, "exec", "c.yaml", "--on", "orchestrator", "--", command)
    assert process.stdout
    started = [int(process.stdout.readline().rpartition(" ")[2]) for _ in range(2)]
    assert all(Path(f"/proc/{pid}").exists() for pid in started)
    process.send_signal(number)
    code = process.wait(30)
    assert code == (130 if number is signal.SIGINT else -number)
    assert all(wait_until_gone(pid) for pid in started)
    process.communicate()


@pytest.mark.parametrize(("command", "code"), [("exit 7", 7), ("kill -KILL $$", 137), ("cat", 0), ("true &", 0)])
def test_the_exit_code_and_an_empty_input_are_passed_on(tmp_path: Path, command: str, code: int) -> None:
    process = start(tmp_path, "exec", "c.yaml", "--", command)
    process.communicate(timeout=30)
    assert process.returncode == code


def test_every_login_shell_reads_the_command_line_alike() -> None:
    command = """echo "a'b" $((1+1)) "\\$HOME"\necho 'é' """
    line = remote.tie_to_connection(command)
    assert not set(line) & set("\n!`*{~"), "csh and fish read these differently"
    assert "'\"'\"'" not in line  # no quote within quotes
    with remote.start(["sh", "-c"], command=command) as process:
        assert process.stdout
        assert process.stdout.read() == "a'b 2 $HOME\né\n"
