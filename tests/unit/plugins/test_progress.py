"""The file in which a module publishes what it does."""

from __future__ import annotations

import json
import os
import pwd
import subprocess
import sys
import time
from pathlib import Path

import pytest
from ansible_collections.flambe.cluster.plugins.module_utils import progress

from flambe_ansible.fleet import activity
from flambe_ansible.paths import collections_root

PROGRAM = """
import sys
from ansible_collections.flambe.cluster.plugins.module_utils import progress
progress.PATH = sys.argv[1]
progress.report("one")
progress.report("two")
print(open(sys.argv[1]).read(), flush=True)
sys.exit(3)
"""


def test_the_launch_reads_the_file_of_the_modules() -> None:
    shown = subprocess.run(
        [sys.executable, "-c", PROGRAM.partition("progress.PATH")[0] + "print(progress.PATH)"],
        env={**os.environ, "PYTHONPATH": str(collections_root())},
        capture_output=True,
        text=True,
        check=True,
    )
    assert shown.stdout.strip() == activity.PROGRESS_FILE


def test_the_file_is_private_and_one_line(progress_file: Path) -> None:
    progress.report("installing\n80 packages")
    assert progress_file.stat().st_mode & 0o777 == 0o600
    assert progress_file.parent.stat().st_mode & 0o777 == 0o755
    text = progress_file.read_text()
    assert (text.count("\n"), json.loads(text)["text"]) == (1, "installing 80 packages")
    assert abs(json.loads(text)["started"] - time.time()) < 3600


def test_the_connecting_user_owns_the_file(progress_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUDO_USER", "daemon")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    owners: list[tuple[int, int]] = []
    monkeypatch.setattr(os, "fchown", lambda _file, *owner: owners.append(owner))
    progress.report("text")
    daemon = pwd.getpwnam("daemon")
    assert owners == [(daemon.pw_uid, daemon.pw_gid)]
    assert progress_file.exists()


def test_the_file_is_removed_when_the_module_ends(tmp_path: Path) -> None:
    path = tmp_path / "progress.json"
    environment = {**os.environ, "PYTHONPATH": str(collections_root())}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, path], env=environment, capture_output=True, text=True, check=False
    )
    assert (done.returncode, json.loads(done.stdout)["text"]) == (3, "two")
    assert not path.exists()


def test_a_file_that_cannot_be_written_is_ignored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setattr(progress, "PATH", str(tmp_path / "file" / "progress.json"))
    progress.report("text")
    monkeypatch.setenv("SUDO_USER", "no-such-user")
    progress.report("text")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("  50%|#####     | 1/2\x1b[K ", "50%|##### | 1/2 [K"),
        ("ü\ttab\r\nline", "ü tab line"),
        ("x" * 300, "x" * 197 + "..."),
        ("\x07\x00", ""),
    ],
)
def test_clean(text: str, expected: str) -> None:
    assert progress.clean(text) == expected


def test_megabytes() -> None:
    assert progress.megabytes(411_600_000, 900e6) == "412 of 900 MB"
