from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import pytest

from flambe_ansible import files


def test_a_write_replaces_content_and_mode(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    path.write_text("old")
    path.chmod(0o644)
    files.write_json(path, {"a": 1}, sync=True)
    assert path.read_text() == '{\n  "a": 1\n}\n'
    assert path.stat().st_mode & 0o777 == 0o600
    assert [one.name for one in tmp_path.iterdir()] == ["state.json"]


def test_a_failed_write_keeps_the_old_content_and_no_temporary_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "state.json"
    path.write_text("old")

    def fail(*_arguments: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(OSError, match="no space left"):
        files.write_atomic(path, "new")
    assert path.read_text() == "old"
    assert [one.name for one in tmp_path.iterdir()] == ["state.json"]


def test_a_lock_is_exclusive_until_it_is_released(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with files.lock(path), pytest.raises(BlockingIOError), files.lock(path, wait=False):
        pass
    with files.lock(path, wait=False) as descriptor:
        assert os.fstat(descriptor).st_mode & 0o777 == 0o600


def test_a_file_has_its_owner_before_it_is_visible(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[int, int, int]] = []

    def fchown(descriptor: int, uid: int, gid: int) -> None:
        seen.append((uid, gid, os.fstat(descriptor).st_size))

    monkeypatch.setattr(files.os, "fchown", fchown)
    files.write_atomic(tmp_path / "a", "content", owner=(1000, 1001))
    files.write_atomic(tmp_path / "b", "content")
    assert seen == [(1000, 1001, 0)]


def test_a_lock_is_on_the_file_at_the_path_even_if_its_holder_removed_it(tmp_path: Path) -> None:
    path = tmp_path / "locks" / "a"
    order: list[str] = []

    def wait_for_lock() -> None:
        with files.lock(path):
            order.append("second")
            assert path.exists()

    with files.lock(path):
        thread = threading.Thread(target=wait_for_lock)
        thread.start()
        time.sleep(0.1)
        path.unlink()
        path.parent.rmdir()
        order.append("first")
    thread.join()
    assert order == ["first", "second"]
