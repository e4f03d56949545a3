from __future__ import annotations

import json
import multiprocessing
import os
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Thread

import pytest

from flambe_ansible import files, journal
from flambe_ansible.errors import ClusterError
from flambe_ansible.journal import Journal, Stage


def test_the_stages_of_a_creation(tmp_path: Path) -> None:
    book = Journal(tmp_path)
    assert book.read() == []
    made = book.open(role="Factory", count=2, digest="d")
    assert Journal(tmp_path).read() == [made]
    assert (made.generation, made.stage, made.ids, made.count, made.role) == (1, Stage.ASKED, (), 2, "Factory")
    assert 0 <= made.age < 300
    book.answer(made.token, ["i-1", "i-2"])
    assert book.unfinished()[0].ids == ("i-1", "i-2")
    assert book.unfinished()[0].stage is Stage.ANSWERED
    book.close({made.token}, "done")
    assert book.unfinished() == []
    assert book.read()[0].outcome == "done"


def test_tokens_are_unique_and_valid_in_ec2(tmp_path: Path) -> None:
    book = Journal(tmp_path)
    made = [book.open(role="Factory", count=1, digest="d") for _ in range(5)]
    assert len({one.token for one in made}) == 5
    assert [one.generation for one in made] == [1, 2, 3, 4, 5]
    assert all(len(one.token) <= 64 and one.token.isascii() for one in made)
    other = Journal(tmp_path / "..").open(role="Factory", count=1, digest="d")
    assert other.token not in {one.token for one in made}


def test_the_file_is_private_and_complete(tmp_path: Path) -> None:
    book = Journal(tmp_path)
    book.open(role="Factory", count=1, digest="d")
    assert stat.S_IMODE(book.path.stat().st_mode) == 0o600
    assert json.loads(book.path.read_text())["version"] == journal.VERSION
    assert sorted(path.name for path in tmp_path.iterdir()) == ["journal.json", "journal.lock"]


def test_a_failed_write_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    book = Journal(tmp_path)
    made = book.open(role="Factory", count=1, digest="d")

    def fail(*_: object, **__: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(files.os, "fsync", fail)
    with pytest.raises(OSError, match="no space"):
        book.close({made.token}, "done")
    monkeypatch.undo()
    assert Journal(tmp_path).read() == [made]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["journal.json", "journal.lock"]


def test_only_closed_old_creations_are_dropped(tmp_path: Path) -> None:
    book = Journal(tmp_path)
    first = book.open(role="Factory", count=1, digest="d")
    closed = [book.open(role="Factory", count=1, digest="d").token for _ in range(journal.KEPT + 5)]
    book.close(set(closed), "done")
    assert book.unfinished() == [first]
    assert [one.token for one in book.read()[1:]] == closed[-journal.KEPT :]


@pytest.mark.parametrize("text", ["", "{", "[]", '{"version": 1}', '{"version": 1, "creations": [{}]}', "null"])
def test_a_damaged_file_is_set_aside_and_stands_for_a_request_of_its_time(tmp_path: Path, text: str) -> None:
    book = Journal(tmp_path)
    book.path.write_text(text)
    os.utime(book.path, (1_000_000, 1_000_000))
    [unknown] = book.unfinished()
    assert (unknown.role, unknown.asked.timestamp()) == (journal.UNKNOWN, 1_000_000)
    assert book.path.with_name("journal.json.damaged").read_text() == text
    made = book.open(role="Factory", count=1, digest="d")
    assert book.read() == [unknown, made]


def test_a_file_of_another_version_is_reported_with_its_path(tmp_path: Path) -> None:
    book = Journal(tmp_path)
    book.path.write_text('{"version": 99, "creations": []}')
    with pytest.raises(ClusterError, match=r"journal\.json") as caught:
        book.read()
    assert "remove" in (caught.value.hint or "")


def test_age_is_measured_from_the_request(tmp_path: Path) -> None:
    book = Journal(tmp_path)
    made = book.open(role="Factory", count=1, digest="d")
    data = json.loads(book.path.read_text())
    data["creations"][0]["asked"] = (datetime.now(UTC) - timedelta(seconds=100)).isoformat()
    book.path.write_text(json.dumps(data))
    assert 100 <= book.read()[0].age < 400
    assert book.read()[0].token == made.token


def test_threads_do_not_lose_each_others_entries(tmp_path: Path) -> None:
    threads = [Thread(target=_open_some, args=(tmp_path,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(one.generation for one in Journal(tmp_path).read()) == list(range(1, 21))


def test_processes_do_not_lose_each_others_entries(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=_open_some, args=(tmp_path,)) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert sorted(one.generation for one in Journal(tmp_path).read()) == list(range(1, 11))


def _open_some(folder: Path) -> None:
    for _ in range(5):
        Journal(folder).open(role="Factory", count=1, digest="d")
