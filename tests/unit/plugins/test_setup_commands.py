"""When setup commands run, and how."""

from __future__ import annotations

import os
import pwd
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

import pytest
from ansible_collections.flambe.cluster.plugins.module_utils import account as accounts
from ansible_collections.flambe.cluster.plugins.module_utils import apt_lock, files, progress
from ansible_collections.flambe.cluster.plugins.modules import setup_commands

COMMANDS = ["a", "b"]
DONE = {"commands": files.digest(COMMANDS), "boot_id": "1"}


@pytest.mark.parametrize(
    ("commands", "state", "boot_id", "rerun", "expected"),
    [
        ([], {}, "1", True, ""),
        (COMMANDS, {}, "1", False, "first run on this host"),
        (COMMANDS, DONE, "1", False, ""),
        (["b", "a"], DONE, "1", False, "the commands changed"),
        (COMMANDS, DONE, "2", False, "the host was rebooted"),
        (COMMANDS, DONE, "1", True, "requested"),
    ],
)
def test_decide(commands: list[str], state: dict[str, str], boot_id: str, rerun: bool, expected: str) -> None:
    assert setup_commands.decide(commands, state, boot_id, rerun) == expected


@pytest.fixture
def account(tmp_path: Path) -> pwd.struct_passwd:
    """Return the current user with an empty home."""
    me = pwd.getpwuid(os.geteuid())
    return pwd.struct_passwd((*me[:5], str(tmp_path), "/bin/bash"))


def run(account: pwd.struct_passwd, command: str, timeout: float = 20, lock_seconds: float = 0) -> tuple[int, str]:
    result: tuple[int, str] = setup_commands.run_command(
        account, command, timeout, "setup_cmds_timeout", "1 of 2", lock_seconds
    )
    return result


@pytest.mark.parametrize(
    ("command", "code", "output"),
    [
        ("false\ntrue", 1, ""),
        ("false | cat", 1, ""),
        ("false; echo more", 1, ""),
        ("false || echo else", 0, "else\n"),
        ("true && echo then; echo more", 0, "then\nmore\n"),
        ("if false; then echo a; fi; echo b", 0, "b\n"),
        ("# a comment\necho a", 0, "a\n"),
        ("exit 7", 7, ""),
        ("", 0, ""),
    ],
)
def test_a_command_fails_if_a_part_of_it_fails(
    account: pwd.struct_passwd, command: str, code: int, output: str
) -> None:
    assert run(account, command) == (code, output)


def test_a_syntax_error(account: pwd.struct_passwd) -> None:
    code, output = run(account, "if then")
    assert code == 2
    assert "syntax error" in output


def test_the_profile_does_not_run_under_e(account: pwd.struct_passwd, tmp_path: Path) -> None:
    (tmp_path / ".bash_profile").write_text("false\nexport FROM_PROFILE=yes\n")
    assert run(account, 'echo "$FROM_PROFILE"') == (0, "yes\n")


@pytest.mark.parametrize(("command", "code"), [("exit 3", 3), ("false", 1), ("exit 0", 0), ("kill -9 $BASHPID", 137)])
def test_the_logout_file_does_not_change_the_exit_code(
    account: pwd.struct_passwd, tmp_path: Path, command: str, code: int
) -> None:
    (tmp_path / ".bash_logout").write_text('[ "$SHLVL" = 1 ] && false\nfalse\n')
    assert run(account, command)[0] == code


@pytest.mark.parametrize(
    ("name", "line"),
    [(".bash_profile", "exec dash"), (".profile", "[ -x /bin/sh ] && exec /bin/sh"), (".bash_login", "exit 0")],
)
def test_a_profile_that_ends_the_shell(account: pwd.struct_passwd, tmp_path: Path, name: str, line: str) -> None:
    (tmp_path / name).write_text(f"# exec\nexport A=1\n{line}\n")
    with pytest.raises(setup_commands.ProfileError) as caught:
        run(account, "touch ~/ran")
    assert f"setup command 1 of 2 did not run: the login shell of {account.pw_name} ended in its profile" in str(
        caught.value
    )
    assert f"{tmp_path}/{name}, line 3: {line}" in str(caught.value)
    assert not (tmp_path / "ran").exists()


def test_a_time_out_reports_command_output_and_setting(account: pwd.struct_passwd) -> None:
    with pytest.raises(accounts.CommandTimeoutError) as caught:
        run(account, "echo begun\nsleep 60", timeout=1)
    assert str(caught.value) == (
        "setup command 1 of 2 (echo begun sleep 60): still running after 1 s; last output: begun;"
        " raise setup_cmds_timeout to allow more"
    )


LOCKED = "E: Could not get lock /var/lib/dpkg/lock-frontend. It is held by process 7 (unattended-upgr)"


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(setup_commands, "_RETRY_SECONDS", 0.05)
    monkeypatch.setattr(apt_lock, "holder", lambda paths=(): None)


@pytest.mark.usefixtures("quick")
def test_a_command_that_waits_for_the_lock_of_apt_is_repeated(account: pwd.struct_passwd, tmp_path: Path) -> None:
    command = f"echo . >> ~/tries\n[ $(wc -l < ~/tries) -ge 3 ] || {{ echo '{LOCKED}'; exit 100; }}"
    assert run(account, command, lock_seconds=20) == (0, "")
    assert (tmp_path / "tries").read_text() == ".\n.\n.\n"


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(("printed", "seconds"), [("E: Unable to locate package x", 20.0), (LOCKED, 0.0)])
def test_other_failures_and_a_limit_end_the_attempts(
    account: pwd.struct_passwd, tmp_path: Path, printed: str, seconds: float
) -> None:
    code, output = run(account, f"echo . >> ~/tries; echo '{printed}'; exit 100", lock_seconds=seconds)
    assert (code, output) == (100, printed + "\n")
    assert (tmp_path / "tries").read_text() == ".\n"


HOLD = """import fcntl, sys
with open(sys.argv[1], "w") as file:
    fcntl.lockf(file, fcntl.LOCK_EX)
    print("held", flush=True)
    sys.stdin.read()
"""


def test_who_holds_a_lock(tmp_path: Path) -> None:
    free, held = str(tmp_path / "free"), str(tmp_path / "held")
    for path in (free, held):
        Path(path).touch()
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, held], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout
        assert process.stdin
        assert process.stdout.readline() == "held\n"
        assert apt_lock.holder([str(tmp_path / "missing"), free, held]) == (held, process.pid)
        started = time.monotonic()
        apt_lock.wait(started + 0.5, [held])
        assert time.monotonic() - started >= 0.5
        process.stdin.close()
    assert apt_lock.holder([free, held]) is None
    apt_lock.wait(time.monotonic() + 60, [free, held])


@pytest.mark.parametrize(
    ("command", "expected"),
    [("sudo apt-get install -y htop", True), ("dpkg -i x.deb", True), ("echo adapt", False), ("mount /data", False)],
)
def test_which_commands_use_apt(command: str, expected: bool) -> None:
    assert apt_lock.uses_apt(command) is expected


@pytest.mark.parametrize("quote", ["", "'", '"'])
def test_passwords_in_urls_are_masked(quote: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ansible masks ``no_log_values`` in the result, in which a command that fails is shown."""

    class Ended(Exception):  # noqa: N818
        pass

    class Module:
        check_mode = True
        no_log_values: ClassVar[set[str]] = set()
        command = f"pip config set global.index-url {quote}https://me:s3cr%2Fet@host/simple{quote}"
        params: ClassVar[dict[str, object]] = {
            "commands": [command],
            "user": "",
            "state_file": "no-such-file",
            "rerun": False,
        }

        def exit_json(self, **_result: object) -> None:
            raise Ended

    monkeypatch.setattr(setup_commands, "AnsibleModule", lambda **_options: Module())
    with pytest.raises(Ended):
        setup_commands.main()
    assert Module.no_log_values == {"s3cr%2Fet", "s3cr/et"}


def test_the_progress_is_the_number_and_the_last_line(
    account: pwd.struct_passwd, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[str] = []
    monkeypatch.setattr(progress, "report", shown.append)
    run(account, "TOKEN=hunter2; echo one; echo; sleep 1.2; echo two; sleep 1.2")
    assert list(dict.fromkeys(shown)) == ["command 1 of 2", "command 1 of 2: one", "command 1 of 2: two"]


def test_a_wait_for_apt_is_reported(account: pwd.struct_passwd, monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[str] = []
    monkeypatch.setattr(progress, "report", shown.append)
    monkeypatch.setattr(apt_lock, "holder", lambda: ("/var/lib/dpkg/lock", 7))
    monkeypatch.setattr(apt_lock, "wait", lambda deadline: None)
    run(account, "true apt")
    assert shown[0] == "command 1 of 2: waiting until another process releases the locks of apt"


class Module:
    """Stands for AnsibleModule, and keeps the result and the warnings."""

    check_mode = False

    def __init__(self, **params: object) -> None:
        self.params = {"user": "", "timeout": 60.0, "timeout_setting": "t", "rerun": False, **params}
        self.no_log_values: set[str] = set()
        self.warnings: list[str] = []
        self.result: dict[str, object] = {}

    def warn(self, text: str) -> None:
        self.warnings.append(text)

    def exit_json(self, **result: object) -> None:
        self.result = result
        raise SystemExit

    fail_json = exit_json


@pytest.fixture
def converge(account: pwd.struct_passwd, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Module]:
    """Return a function that runs the module."""
    monkeypatch.setattr(accounts, "find", lambda _: account)

    def run_module(*commands: str, state_file: str = "~/state/setup.json") -> Module:
        module = Module(commands=list(commands), state_file=state_file)
        monkeypatch.setattr(setup_commands, "AnsibleModule", lambda **_options: module)
        with pytest.raises(SystemExit):
            setup_commands.main()
        return module

    return run_module


def test_lists_with_a_file_each_run_once(converge: Callable[..., Module]) -> None:
    for changed in (True, False):
        for name in ("one", "two"):
            found = converge(f"echo {name}", state_file=f"~/state/{name}.json")
            assert (found.result["changed"], found.warnings) == (changed, [])


def test_lists_that_take_turns_in_one_file_run_with_a_warning(converge: Callable[..., Module]) -> None:
    assert [converge(f"echo {name}").warnings for name in ("one", "two", "two")] == [[], [], []]
    again = converge("echo one")
    assert again.result["reason"] == "the commands changed"
    [warning] = again.warnings
    assert "setup.json: lists that take turns need a file each" in warning
    assert converge("echo one").warnings == []


def test_a_folder_that_cannot_be_created_is_reported(converge: Callable[..., Module], tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    found = converge("true", state_file=str(tmp_path / "file" / "x" / "setup.json"))
    assert str(found.result["msg"]).endswith("/file/x cannot be created: Not a directory")
