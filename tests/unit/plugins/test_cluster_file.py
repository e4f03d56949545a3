"""A file from another host of the cluster; the other host's sshd is a stand-in."""

from __future__ import annotations

import hashlib
import os
import pwd
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible_collections.flambe.cluster.plugins.modules import cluster_file

CONTENT = b"\x7fELF uv"
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Source:
    """The answers of the other host, in order; the last one is repeated: the content of the file, or ssh's error."""

    def __init__(self, *answers: bytes | str) -> None:
        self.answers = list(answers)
        self.calls: list[list[str]] = []

    def run(self, _account: Any, argv: list[str], _timeout: float, *, stdout: Any, shown: str) -> tuple[int, str]:
        self.calls.append(argv)
        assert shown == "ssh head"
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, str):
            return 255, answer
        stdout.write(answer)
        return 0, ""


class Ended(BaseException):
    pass


def run(monkeypatch: pytest.MonkeyPatch, home: Path, source: Source, *, check_mode: bool = False) -> dict[str, Any]:
    """Run the module for a user with this home folder; return its result."""
    account = pwd.struct_passwd(("me", "x", os.getuid(), os.getgid(), "", str(home), "/bin/sh"))
    results: list[dict[str, Any]] = []

    def end(**result: Any) -> None:
        results.append(result)
        raise Ended

    path = str(home / "lib dir" / "uv")
    params = {"user": "me", "source": "head", "path": path, "sha256": SHA256, "mode": "0755", "timeout": 0.6}
    module = SimpleNamespace(params=params, check_mode=check_mode, exit_json=end)
    monkeypatch.setattr(cluster_file, "AnsibleModule", lambda **_spec: module)
    monkeypatch.setattr(cluster_file.accounts, "of_module", lambda _module: account)
    monkeypatch.setattr(cluster_file.accounts, "run", source.run)
    with pytest.raises(Ended):
        cluster_file.main()
    return results[0]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "ray_bootstrap_key.pem").write_text("key")
    return tmp_path


def test_the_file_is_copied_once_with_its_mode(monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    source = Source("kex_exchange_identification: Connection closed by remote host", CONTENT)
    result = run(monkeypatch, home, source)
    assert (result["changed"], result["copied"], result["reason"]) == (True, True, "")
    path = home / "lib dir" / "uv"
    assert (path.read_bytes(), path.stat().st_mode & 0o777) == (CONTENT, 0o755)
    assert len(source.calls) == 2  # a busy sshd is asked again
    assert source.calls[0][-3:] == ["--", "head", f"cat -- '{path}'"]
    assert {"StrictHostKeyChecking=yes", "ForwardAgent=no"} <= set(source.calls[0])
    result = run(monkeypatch, home, source)
    assert (result["changed"], result["copied"], len(source.calls)) == (False, True, 2)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b"a greeting\n" + CONTENT, "head has another "),
        (CONTENT[:3], "head has another "),
        ("Host key verification failed.", "Host key verification failed."),
    ],
)
def test_another_file_is_never_written(
    monkeypatch: pytest.MonkeyPatch, home: Path, answer: bytes | str, reason: str
) -> None:
    result = run(monkeypatch, home, Source(answer))
    assert (result["changed"], result["copied"], result["has_key"]) == (False, False, True)
    assert result["reason"].startswith(reason)
    assert list((home / "lib dir").iterdir()) == []


def test_a_host_without_the_key_connects_to_none(monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    (home / "ray_bootstrap_key.pem").unlink()
    source = Source(CONTENT)
    result = run(monkeypatch, home, source)
    assert (result["changed"], result["copied"], result["has_key"], source.calls) == (False, False, False, [])


def test_check_mode_writes_nothing(monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    source = Source(CONTENT)
    result = run(monkeypatch, home, source, check_mode=True)
    assert (result["changed"], source.calls, (home / "lib dir").exists()) == (True, [], False)
