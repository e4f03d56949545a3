"""Commands and files as another user; here as the one who runs the tests."""

from __future__ import annotations

import os
import pwd
import time
from pathlib import Path

import pytest
from ansible_collections.flambe.cluster.plugins.module_utils import account as accounts


@pytest.fixture
def me() -> pwd.struct_passwd:
    return pwd.getpwuid(os.geteuid())


def test_find_the_user_behind_sudo(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setenv("SUDO_USER", "daemon")
    assert accounts.find("").pw_name == "daemon"
    assert accounts.find("root").pw_name == "root"


def test_find_nobody() -> None:
    with pytest.raises(KeyError):
        accounts.find("no-such-user")


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("http_proxy=http://p:3128", {"http_proxy": "http://p:3128"}),
        ('A="two words"', {"A": "two words"}),
        ("export B='x'", {"B": "x"}),
        ("# C=1", {}),
        ("nonsense", {}),
        ("D=", {"D": ""}),
    ],
)
def test_read_environment(tmp_path: Path, line: str, expected: dict[str, str]) -> None:
    (tmp_path / "environment").write_text(line + "\n")
    assert accounts.read_environment(str(tmp_path / "environment")) == expected


def test_a_command_has_no_stdin_and_its_output_in_order(me: pwd.struct_passwd) -> None:
    code, output = accounts.run(me, ["/bin/sh", "-c", "cat; echo out; echo err >&2; exit 3"])
    assert (code, output) == (3, "out\nerr\n")


def test_a_daemon_holds_nobody_up(me: pwd.struct_passwd, tmp_path: Path) -> None:
    started = time.monotonic()
    code, output = accounts.run(me, ["/bin/sh", "-c", f"sleep 600 & echo $! > {tmp_path}/pid; echo done"])
    os.kill(int((tmp_path / "pid").read_text()), 9)
    assert (code, output) == (0, "done\n")
    assert time.monotonic() - started < 300


def test_a_time_out_ends_the_whole_group(me: pwd.struct_passwd, tmp_path: Path) -> None:
    with pytest.raises(accounts.CommandTimeoutError) as caught:
        accounts.run(me, ["/bin/sh", "-c", f"echo begun; sleep 60 & echo $! > {tmp_path}/pid; wait"], timeout=1)
    assert caught.value.output == "begun\n"
    child = int((tmp_path / "pid").read_text())
    for _ in range(600):
        stat = Path(f"/proc/{child}/stat")
        if not stat.exists() or stat.read_text().split()[2] == "Z":
            return
        time.sleep(0.1)
    raise AssertionError("the child of a stopped command still runs")


def test_tail() -> None:
    assert accounts.tail("a\nb\nc\n\n", 2) == "b\nc"
