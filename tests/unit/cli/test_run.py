"""The command line as a whole: exit codes, usage errors, unexpected errors, help texts, start-up time."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import click
import pytest

from flambe_ansible import __version__
from flambe_ansible.cli.app import COMMANDS, OTHER_NAMES, app
from flambe_ansible.errors import ClusterConfigurationError, LabError, Problem
from tests.unit.cli.conftest import Run
from tests.unit.cli.made_up import FakeCluster


def raise_at_load(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    """Make loading of every configuration raise an error."""

    def load(_file: str) -> None:
        raise error

    monkeypatch.setattr("flambe_ansible.cluster.loading.load_cluster", load)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["lauch", "c.yaml"], "Did you mean 'launch'?"),
        (["status", "c.yaml", "--jsn"], "Did you mean '--json'?"),
        (["status"], "Missing argument 'CLUSTER'"),
        (["ssh", "c.yaml", "worker"], "unknown host 'worker'"),
        (["ssh", "c.yaml", "factory", "x"], "unknown host 'factory x'"),
        (["exec", "c.yaml"], "no command; write it after `--`"),
        (["exec", "c.yaml", "--on", "moon", "--", "true"], "'moon' is not one of"),
        (["launch", "c.yaml", "--on-failure", "cry"], "'cry' is not one of"),
        (["tunnel", "c.yaml", "--", "no-such-tool"], "no-such-tool: command not found on this machine"),
    ],
)
def test_usage_errors_are_short_and_end_with_2(run: Run, arguments: list[str], message: str) -> None:
    done = run(*arguments)
    assert done.code == 2
    assert message in done.stderr
    assert "Usage: flambe-ans" in done.stderr
    assert done.stdout == ""


def test_usage_errors_are_documents_too(run: Run) -> None:
    done = run("status", "--json")
    assert done.code == 2
    assert json.loads(done.stdout)["error"]["exit_code"] == 2


def test_problems_of_a_file_are_lines_with_line_and_column(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    problems = [
        Problem(file="c.yaml", line=3, column=1, message="unknown key naem", suggestion="name"),
        Problem(file="c.yaml", line=9, column=4, message="factories_num is a text", expected="a whole number"),
    ]
    raise_at_load(monkeypatch, ClusterConfigurationError.of(problems))
    done = run("launch", "c.yaml", "--yes", "--json")
    assert done.code == 3
    assert done.stderr.splitlines() == [
        "c.yaml:3:1: unknown key naem; did you mean name?",
        "c.yaml:9:4: factories_num is a text; expected a whole number",
    ]
    assert [problem["line"] for problem in json.loads(done.stdout)["error"]["problems"]] == [3, 9]


def test_a_missing_file_is_an_error_without_a_line(run: Run, tmp_path: Path) -> None:
    done = run("launch", str(tmp_path / "nope.yaml"))
    assert (done.code, done.stderr) == (3, f"error: {tmp_path}/nope.yaml: no such file\n")


def test_a_hint_contains_the_file_of_the_cluster(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    raise_at_load(monkeypatch, LabError("no", hint="flambe-ans exec CLUSTER -- true"))
    assert run("launch", "a b.yaml").stderr == "error: no\nnext: flambe-ans exec 'a b.yaml' -- true\n"


def test_a_hint_is_printed_as_the_next_command(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    raise_at_load(monkeypatch, LabError("the lab is down", hint="sudo flambe-ans lab up"))
    done = run("launch", "c.yaml")
    assert (done.code, done.stderr) == (8, "error: the lab is down\nnext: sudo flambe-ans lab up\n")


def test_an_unexpected_error_is_one_line_and_a_file(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    raise_at_load(monkeypatch, ZeroDivisionError("oops"))
    done = run("status", "c.yaml")
    assert done.code == 1
    assert done.stderr.startswith("error: unexpected ZeroDivisionError: oops; the traceback is in ")
    assert len(done.stderr.splitlines()) == 1
    path = Path(done.stderr.strip().rpartition(" ")[2])
    assert "ZeroDivisionError: oops" in path.read_text()
    assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES, errno.ENOTDIR])
def test_a_state_folder_that_is_not_writable(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, number: int
) -> None:
    path = tmp_path / "state" / "clusters"
    raise_at_load(monkeypatch, OSError(number, os.strerror(number), str(path)))
    done = run("status", "c.yaml", "--json")
    assert (done.code, json.loads(done.stdout)["error"]["kind"]) == (1, "LocalFileError")
    assert done.stderr == (
        f"error: {path}: {os.strerror(number)}\nnext: set FLAMBE_ANS_STATE to a folder in which you can create files\n"
    )


@pytest.mark.parametrize(("below", "reason"), [("", "this is not a folder"), ("a/b", "Not a directory")])
def test_a_state_folder_that_is_a_file(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, below: str, reason: str
) -> None:
    (tmp_path / "file").touch()
    state = tmp_path / "file" / below
    monkeypatch.setenv("FLAMBE_ANS_STATE", str(state))
    (tmp_path / "c.yaml").write_text("!LabCluster\nname: demo\nfactories_num: 1\n")
    done = run("status", str(tmp_path / "c.yaml"))
    assert (done.code, done.stderr) == (
        1,
        f"error: {state}: {reason}\nnext: set FLAMBE_ANS_STATE to a folder in which you can create files\n",
    )


def test_a_current_folder_that_was_removed(run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    raise_at_load(monkeypatch, FileNotFoundError(errno.ENOENT, "No such file or directory"))
    done = run("status", "c.yaml")
    assert (done.code, done.stderr.splitlines()[0]) == (1, "error: the current folder was removed")


def exhaust_threads() -> None:
    raise RuntimeError("can't start new thread")


def exhaust_processes() -> None:
    """Fail as the start of a process does."""

    def _execute_child() -> None:
        raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")

    _execute_child()


def exhaust_files() -> None:
    raise OSError(errno.EMFILE, "Too many open files", "/etc/hosts")


@pytest.mark.parametrize(
    ("work", "message", "limit"),
    [
        (exhaust_threads, "this user has reached the limit of processes and threads", "ulimit -u"),
        (exhaust_processes, "this user has reached the limit of processes and threads", "ulimit -u"),
        (exhaust_files, "too many open files on this machine", "ulimit -n"),
    ],
)
def test_a_limit_of_this_machine_is_explained(
    run: Run, monkeypatch: pytest.MonkeyPatch, work: Callable[[], None], message: str, limit: str
) -> None:
    monkeypatch.setattr("flambe_ansible.cluster.loading.load_cluster", lambda *_args, **_options: work())
    done = run("status", "c.yaml")
    assert (done.code, message in done.stderr, limit in done.stderr) == (1, True, True), done.stderr
    assert "unexpected" not in done.stderr


def test_other_errors_of_files_are_unexpected(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    raise_at_load(monkeypatch, PermissionError(errno.EACCES, "Permission denied", "/elsewhere"))
    assert "error: unexpected PermissionError" in run("status", "c.yaml").stderr


@pytest.mark.parametrize("arguments", [["--debug", "status", "c.yaml"], ["status", "c.yaml", "--debug"]])
def test_debug_shows_the_traceback(run: Run, monkeypatch: pytest.MonkeyPatch, arguments: list[str]) -> None:
    raise_at_load(monkeypatch, LabError("the lab is down"))
    done = run(*arguments)
    assert done.code == 8
    assert "Traceback" in done.stderr
    assert "raise error" in done.stderr


def test_ctrl_c_ends_with_130(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    raise_at_load(monkeypatch, KeyboardInterrupt())
    done = run("status", "c.yaml")
    assert done.code == 130
    assert "cancelled" in done.stderr


def test_version(run: Run) -> None:
    done = run("--version")
    assert (done.code, done.stdout) == (0, f"flambe-ans, version {__version__}\n")


@pytest.mark.parametrize("name", sorted(COMMANDS))
@pytest.mark.parametrize("columns", ["80", "120"])
def test_help_fits_its_width_and_has_examples(
    run: Run, monkeypatch: pytest.MonkeyPatch, name: str, columns: str
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    done = run(name, "--help")
    assert done.code == 0
    assert "$ " in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= int(columns)


def list_options(command: click.Command, path: str) -> list[tuple[str, str]]:
    """List the options of a command and its subcommands, as (path of the command, option)."""
    below = []
    if isinstance(command, click.Group):
        context = click.Context(command)
        children = [command.get_command(context, name) for name in command.list_commands(context)]
        below = [pair for child in children if child for pair in list_options(child, f"{path} {child.name}".strip())]
    own = [max(one.opts, key=len) for one in command.params if isinstance(one, click.Option) and path]
    return [(path, option) for option in own if option not in ("--json", "--debug")] + below


def test_the_documentation_has_every_option() -> None:
    page = (Path(__file__).parents[3] / "docs" / "cli.md").read_text()
    for path, option in list_options(app, ""):
        lines = [line for line in page.splitlines() if line.startswith(f"| `{path} ")]
        if path == "launch":  # its options have a table
            lines = page.partition("## launch")[2].splitlines()
        assert any(option in line for line in lines), f"{path} {option}"


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; from flambe_ansible.cli import run; run(['--help']);"
        "sys.exit(sorted({'boto3', 'ansible', 'ansible_runner', 'moto', 'yaml', 'botocore'} & set(sys.modules)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_closed_output_is_not_an_error() -> None:
    code = "import sys; from flambe_ansible.cli import run; sys.exit(run(['--help']))"
    done = subprocess.run(
        ["bash", "-c", f'set -o pipefail; {sys.executable} -c "{code}" | head -1 >/dev/null'],
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Traceback" not in done.stderr


def test_status_prints_a_document_and_returns_0(cluster: FakeCluster, run: Run) -> None:
    done = run("status", "c.yaml", "--json")
    document = json.loads(done.stdout)
    assert done.code == 0
    assert (document["name"], document["state"], document["ray"]["alive"]) == ("demo", "running", 3)
    assert set(document["factories"][0]) >= {"name", "instance_id", "state", "public_ip", "private_ip"}


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        (["lanch", "c.yaml"], "launch"),
        (["up", "c.yaml"], "launch"),
        (["attach"], "ssh"),
        (["lab", "stauts"], "status"),
        (["lab", "fault", "ad"], "add"),
        (["qwertz"], ""),
    ],
)
def test_a_wrong_command_names_a_similar_one(run: Run, words: list[str], meant: str) -> None:
    done = run(*words)
    wrong = next(word for word in words if word not in ("lab", "fault"))
    suggestion = f" Did you mean {meant!r}?" if meant else ""
    assert (done.code, done.stdout) == (2, "")
    assert done.stderr.startswith(f"error: No such command {wrong!r}.{suggestion}\n")
    assert "--help" in done.stderr


def test_other_names_are_those_of_commands() -> None:
    assert set(OTHER_NAMES.values()) <= set(COMMANDS)
    assert not set(OTHER_NAMES) & set(COMMANDS)
