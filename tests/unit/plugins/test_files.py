"""Atomic writes, and managed blocks in files of a user."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from ansible_collections.flambe.cluster.plugins.module_utils import files

BLOCK = "x.y"
HEAD, TAIL = files.begin(BLOCK), files.end(BLOCK)


@pytest.mark.parametrize(
    ("before", "lines", "after"),
    [
        (None, ["a"], f"{HEAD}\na\n{TAIL}\n"),
        ("mine\n", ["a"], f"mine\n{HEAD}\na\n{TAIL}\n"),
        (f"mine\n{HEAD}\nold\n{TAIL}\nalso mine\n", ["a"], f"mine\nalso mine\n{HEAD}\na\n{TAIL}\n"),
        (f"{HEAD}\nold\n{TAIL}\n", [], ""),
        ("no newline", ["a"], f"no newline\n{HEAD}\na\n{TAIL}\n"),
    ],
)
def test_with_block(before: str | None, lines: list[str], after: str) -> None:
    assert files.with_block(before, BLOCK, lines) == after
    assert files.with_block(after, BLOCK, lines) == after


def test_ensure_changes_once(tmp_path: Path) -> None:
    path = tmp_path / "f"
    assert files.ensure(str(path), "text", 0o600, dry=True)
    assert not path.exists()
    assert files.ensure(str(path), "text", 0o600)
    assert not files.ensure(str(path), "text", 0o600)
    assert path.stat().st_mode & 0o777 == 0o600
    path.chmod(0o644)
    assert files.ensure(str(path), "text", 0o600)


def test_ensure_replaces_a_file_of_another_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "f"
    files.write(str(path), "text", 0o600)
    before = path.stat().st_ino
    user = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: user + 1)
    assert files.ensure(str(path), "text", 0o600, dry=True)
    assert path.stat().st_ino == before
    assert files.ensure(str(path), "text", 0o600)
    assert path.stat().st_ino != before


def test_a_file_of_another_user_is_given_back_and_a_link_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[tuple[int, int]] = []
    monkeypatch.setattr(os, "fchown", lambda _handle, uid, gid: given.append((uid, gid)))
    path, user = tmp_path / "f", os.getuid()
    path.write_text("text")
    assert not files.give_back(str(path), user, 7)
    assert files.give_back(str(path), user + 1, 7)
    assert given == [(user + 1, 7)]
    (tmp_path / "link").symlink_to(path)
    (tmp_path / "hard").hardlink_to(path)
    os.mkfifo(tmp_path / "pipe")
    for name in ("link", "hard", "pipe", "absent"):
        assert not files.give_back(str(tmp_path / name), user + 1, 7)
    assert len(given) == 1


def test_folders_of_another_user_are_given_back_and_links_are_not_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[str] = []
    monkeypatch.setattr(os, "chown", lambda path, _uid, _gid, *, follow_symlinks: given.append(path))
    for name in ("venv/lib/six.dist-info", "elsewhere/below"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "venv/lib/file").touch()
    (tmp_path / "venv/lib/link").symlink_to(tmp_path / "elsewhere")
    files.give_back_folders(str(tmp_path / "absent"), 0, 0)
    files.give_back_folders(str(tmp_path / "venv"), os.getuid(), os.getgid())
    assert given == []
    files.give_back_folders(str(tmp_path / "venv"), os.getuid() + 1, os.getgid())
    assert given == [str(tmp_path / name) for name in ("venv", "venv/lib", "venv/lib/six.dist-info")]


def test_a_text_of_a_result_has_no_bytes_that_are_no_utf_8() -> None:
    assert files.printable("é\udcff") == "é\\udcff"


def test_write_leaves_no_temporary_file(tmp_path: Path) -> None:
    (tmp_path / "f").mkdir()
    with pytest.raises(IsADirectoryError):
        files.write(str(tmp_path / "f"), "text", 0o600)
    assert [path.name for path in tmp_path.iterdir()] == ["f"]


def test_write_text_and_bytes(tmp_path: Path) -> None:
    files.write(str(tmp_path / "text"), "é\udcff", 0o600)
    files.write(str(tmp_path / "bytes"), b"\xff\0", 0o755)
    assert (tmp_path / "text").read_bytes() == "é".encode() + b"\xff"
    assert (tmp_path / "bytes").read_bytes() == b"\xff\0"
    assert (tmp_path / "bytes").stat().st_mode & 0o777 == 0o755


@pytest.mark.parametrize(("text", "expected"), [('{"a": 1}', {"a": 1}), ("[]", {}), ("{", {}), ("", {}), (None, {})])
def test_read_json(tmp_path: Path, text: str | None, expected: dict[str, int]) -> None:
    if text is not None:
        (tmp_path / "f").write_text(text)
    assert files.read_json(str(tmp_path / "f")) == expected


def test_read_a_missing_file(tmp_path: Path) -> None:
    (tmp_path / "f").write_text("")
    assert files.read(str(tmp_path / "none")) is None
    assert files.read(str(tmp_path / "f/below")) is None
