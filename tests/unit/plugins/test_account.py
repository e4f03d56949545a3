"""Commands and files as another user; the tests use the current user."""

from __future__ import annotations

import os
import pwd
import re
import sys
import time
from pathlib import Path
from unittest.mock import Mock, create_autospec

import pytest
from ansible.module_utils.basic import AnsibleModule
from ansible_collections.flambe.cluster.plugins.module_utils import account as accounts


@pytest.fixture
def me() -> pwd.struct_passwd:
    return pwd.getpwuid(os.geteuid())


def test_find_the_user_behind_sudo(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setenv("SUDO_USER", "daemon")
    assert accounts.find("").pw_name == "daemon"
    assert accounts.find("root").pw_name == "root"


def make_proc(folder: Path, owners: list[int]) -> int:
    """Write the status of processes, each started by the previous one; return the last one's number."""
    for pid, owner in enumerate(owners, 1):
        (folder / str(pid)).mkdir()
        (folder / str(pid) / "status").write_text(f"Name:\tx\nPPid:\t{pid - 1}\nUid:\t{owner}\t0\t0\t0\n")
    return len(owners)


@pytest.mark.parametrize(
    ("owners", "cgroup", "expected"),
    [
        ([0, 0, 1, 1, 0, 0], "", 1),  # sshd of a user, its shell, su, sh, python
        ([0, 0, 2, 1, 0], "", 1),  # su to another user before
        ([0, 0, 0], "", 0),  # root connects
        ([0, 0], "0::/system.slice/container-shell@1.service", None),  # machinectl
    ],
)
def test_find_the_connecting_user_behind_su(
    owners: list[int], cgroup: str, expected: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pid = make_proc(tmp_path, owners)
    (tmp_path / "self").mkdir()
    (tmp_path / "self/cgroup").write_text(cgroup)
    monkeypatch.setattr(accounts, "PROC", str(tmp_path))
    monkeypatch.setattr(os, "getpid", lambda: pid)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    for name in ("SUDO_USER", "DOAS_USER"):
        monkeypatch.delenv(name, raising=False)
    if expected is None:
        with pytest.raises(accounts.UnknownUserError):
            accounts.find("")
        return
    assert accounts.find("").pw_uid == expected


def test_the_module_fails_if_the_connecting_user_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    module = create_autospec(AnsibleModule, instance=True, params={"user": ""})
    monkeypatch.setattr(accounts, "find", Mock(side_effect=accounts.UnknownUserError))
    accounts.of_module(module)
    assert "set the user of the role" in module.fail_json.call_args.kwargs["msg"]


@pytest.mark.parametrize(
    ("running", "expected"), [("usr/python3.11", "usr/python3"), ("usr/python3.9", None), ("venv/python", None)]
)
def test_the_interpreter_of_the_module(
    running: str, expected: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("usr", "venv"):
        (tmp_path / name).mkdir()
    for name in ("usr/python3.11", "usr/python3.9"):
        (tmp_path / name).touch()
    for link in ("usr/python3", "venv/python"):
        (tmp_path / link).symlink_to(tmp_path / "usr/python3.11")
    monkeypatch.setattr(accounts, "SYSTEM_PYTHON", str(tmp_path / "usr/python3"))
    monkeypatch.setattr(sys, "executable", str(tmp_path / running))
    assert accounts.interpreter() == str(tmp_path / (expected or running))


def test_find_an_unknown_user() -> None:
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


def test_a_daemon_does_not_block(me: pwd.struct_passwd, tmp_path: Path) -> None:
    started = time.monotonic()
    code, output = accounts.run(me, ["/bin/sh", "-c", f"sleep 600 & echo $! > {tmp_path}/pid; echo done"])
    os.kill(int((tmp_path / "pid").read_text()), 9)
    assert (code, output) == (0, "done\n")
    assert time.monotonic() - started < 300


def test_a_time_out_kills_the_process_group(me: pwd.struct_passwd, tmp_path: Path) -> None:
    with pytest.raises(accounts.CommandTimeoutError) as caught:
        accounts.run(me, ["/bin/sh", "-c", f"echo begun; sleep 60 & echo $! > {tmp_path}/pid; wait"], timeout=1)
    assert caught.value.output == "begun"
    assert re.fullmatch(r"/bin/sh -c echo begun; .*: still running after 1 s; last output: begun", str(caught.value))
    child = int((tmp_path / "pid").read_text())
    for _ in range(600):
        stat = Path(f"/proc/{child}/stat")
        if not stat.exists() or stat.read_text().split()[2] == "Z":
            return
        time.sleep(0.1)
    raise AssertionError("the child of a stopped command still runs")


def test_a_time_out_mentions_the_setting(me: pwd.struct_passwd) -> None:
    with pytest.raises(accounts.CommandError) as caught:
        accounts.run(me, ["/bin/sleep", "60"], timeout=0.2, shown="uv sync", setting="flambe_timeout")
    expected = "uv sync: still running after 0.2 s; last output: none; raise flambe_timeout to allow more"
    assert (str(caught.value), caught.value.command) == (expected, "uv sync")


def test_a_runtime_does_not_inherit_another_python(me: pwd.struct_passwd, tmp_path: Path) -> None:
    (tmp_path / "environment").write_text("PYTHONPATH=/opt/other\nPYTHONHOME=/opt\nhttp_proxy=http://p:3128\n")
    found = accounts.environment(me, str(tmp_path / "environment"))
    assert (found["http_proxy"], found["HOME"]) == ("http://p:3128", me.pw_dir)
    assert not {"PYTHONPATH", "PYTHONHOME"} & set(found)
    assert accounts.login_environment(me, str(tmp_path / "environment"))["PYTHONPATH"] == "/opt/other"


@pytest.mark.parametrize("profile", ["", "exec /bin/sh\n", "exit 0\n", "echo welcome\n"])
def test_which_with_any_profile(me: pwd.struct_passwd, tmp_path: Path, profile: str) -> None:
    (tmp_path / ".bash_profile").write_text(profile)
    account = pwd.struct_passwd((*me[:5], str(tmp_path), me.pw_shell))
    assert accounts.which(account, "sh") in ("/bin/sh", "/usr/bin/sh")


def test_which_with_a_profile_that_hangs(me: pwd.struct_passwd, monkeypatch: pytest.MonkeyPatch) -> None:
    def hang(*_: object, **__: object) -> None:
        raise accounts.CommandTimeoutError("bash", 60, "")

    monkeypatch.setattr(accounts, "run", hang)
    assert accounts.which(me, "sh")


def test_tail() -> None:
    assert accounts.tail("a\nb\nc\n\n", 2) == "b\nc"


def test_lines_arrive_while_a_command_runs(me: pwd.struct_passwd) -> None:
    received: list[list[str]] = []
    script = "echo one; printf 'tw'; sleep 1.2; printf 'o\\r50%%\\n'; sleep 0.8; echo end >&2"
    code, output = accounts.run(me, ["/bin/sh", "-c", script], timeout=60, on_lines=received.append)
    assert (code, output) == (0, "one\ntwo\r50%\nend\n")
    assert ["one"] in received
    assert [line for lines in received for line in lines if line != "end"] == ["one", "two", "50%"]


def test_a_time_out_with_lines(me: pwd.struct_passwd) -> None:
    received: list[list[str]] = []
    with pytest.raises(accounts.CommandTimeoutError, match=r"still running after 0\.7 s; last output: one$"):
        accounts.run(me, ["/bin/sh", "-c", "echo one; exec sleep 60"], timeout=0.7, on_lines=received.append)
    assert ["one"] in received


def test_of_a_long_output_only_the_last_lines_are_read(tmp_path: Path) -> None:
    path = tmp_path / "output"
    path.write_bytes(b"first\n" + b"x" * 99 + b"\n" * 1)
    with path.open("rb") as file:
        assert accounts.read_lines(file, 0) == (["first", "x" * 99], 106)
        path.write_bytes(b"y" * 199_999 + b"\nlast\npart")
        lines, position = accounts.read_lines(file, 106)
        assert (lines[1:], len(lines[0]) < 65536, position) == (["last"], True, 200_005)
        assert accounts.read_lines(file, position) == ([], position)
        assert file.tell() == 0
