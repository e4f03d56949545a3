"""rsync's command lines and its progress."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from flambe_ansible.ssh import files


def test_argv_exposes_no_path_to_a_shell() -> None:
    argv = files.rsync_argv(Path("/tmp/s/abc"), ["./-x", "./it's $(x)"], "i-1:/a b", options=["--delete"])
    rsh = argv[argv.index("--rsh") + 1]
    assert "--protect-args" in argv
    assert "--partial" in argv
    assert rsh.startswith("ssh -F none ")
    assert "ControlPath=/tmp/s/abc" in rsh
    assert "'" not in rsh
    assert argv[argv.index("--delete") :] == ["--delete", "--", "./-x", "./it's $(x)", "i-1:/a b"]


def test_what_a_host_sends_cannot_leave_the_folder_or_become_a_program_of_its_owner(tmp_path: Path) -> None:
    """rsync itself, with a host that is this machine."""
    sent, private = tmp_path / "sent", tmp_path / "private"
    for folder in (sent / "sub", private):
        folder.mkdir(parents=True)
    (sent / "model.pt").write_text("weights")
    (sent / "run.sh").write_text("#!/bin/sh")
    (sent / "run.sh").chmod(0o6755)
    (sent / "last").symlink_to("model.pt")
    (sent / "absolute").symlink_to(private)
    (sent / "sub/above").symlink_to("../../private")
    os.mkfifo(sent / "pipe")
    shell = tmp_path / "shell"
    shell.write_text('#!/bin/sh\nshift\nexec "$@"\n')
    shell.chmod(0o755)
    argv = files.rsync_argv(Path("/none"), [f"i-1:{sent}/"], f"{tmp_path}/got", fetch=True)
    argv[argv.index("--rsh") + 1] = str(shell)
    subprocess.run(argv, check=True)
    got = tmp_path / "got"
    names = sorted(str(path.relative_to(got)) for path in got.rglob("*"))
    assert names == ["last", "model.pt", "run.sh", "sub"]
    assert ((got / "last").readlink(), (got / "last").read_text()) == (Path("model.pt"), "weights")
    assert (got / "run.sh").stat().st_mode & 0o7777 == 0o755


@pytest.mark.parametrize(
    ("path", "argument"), [("/abs/x:y", "/abs/x:y"), ("host:file", "./host:file"), ("-rf", "./-rf"), ("dir/", "./dir/")]
)
def test_local_paths_stay_local(path: str, argument: str) -> None:
    assert files.local(path) == argument


def test_progress_across_chunks() -> None:
    received: list[files.Progress] = []
    read = files.progress_reader(received.append)
    for piece in (
        b"\r      32,7",
        b"68  10%   31.25MB/s    0:00:00\r  3,000",
        b",000 100%  2.0GB/s 0:00:01 (xfr#1)\n",
        b"junk\n",
    ):
        read(piece)
    assert received == [
        files.Progress(transferred=32768, percent=10, rate="31.25MB/s"),
        files.Progress(transferred=3000000, percent=100, rate="2.0GB/s"),
    ]


@pytest.mark.parametrize(
    ("errors", "reason"),
    [
        ("protocol version mismatch -- is your shell clean?\n(see the rsync manpage)\n", "the login shell prints text"),
        ("\nrsync: link_stat failed\nmore\n", "rsync: link_stat failed"),
    ],
)
def test_the_reason_of_a_failure(errors: str, reason: str) -> None:
    assert files.explain(errors).startswith(reason)
