"""Content that is sent to hosts; rsync copies it to a folder of this machine."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from flambe_ansible.fleet import fleet as module
from flambe_ansible.jobs.submission import send_extensions
from flambe_ansible.sources.extensions import Extension, ExtensionKind
from tests.unit.fleets import commands_of, make_connections, make_fleet


@pytest.fixture
def connections(tmp_path: Path) -> Any:
    """Make connections that send files to ``there``."""
    there = tmp_path / "there"
    (there / "data").mkdir(parents=True)
    found = make_connections()

    def put(_host: Any, source: str, target: str, *, options: Any = (), **_more: Any) -> None:
        subprocess.run(["rsync", "--archive", *options, "--", source, str(there / target)], check=True)

    found.put.side_effect = put
    return found


@pytest.mark.parametrize(("limit", "sent"), [(10, "two"), (0, "one")])
def test_small_content_with_the_same_size_and_time_is_sent_again(
    connections: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: int, sent: str
) -> None:
    monkeypatch.setattr(module, "UPLOAD_WARN_LIMIT_MB", limit)
    source = tmp_path / "a"
    fleet = make_fleet(connections)
    for text in ("one", "two"):
        source.write_text(text)
        os.utime(source, (1, 1))
        fleet.send({"a": str(source)}, "data", all_hosts=True)
    assert (tmp_path / "there/data/a__a").read_text() == sent
    scripts = [call.kwargs["input"] for call in connections.run.call_args_list if call.args[1] == "exec sh -s"]
    assert ["--checksum" in script for script in scripts] == [limit > 0] * 2
    assert commands_of(connections)


def test_an_extension_arrives_without_folders_of_builds_and_links(connections: Any, tmp_path: Path) -> None:
    source = tmp_path / "topics"
    for name in ("build/lib", "topics/build", "topics/__pycache__", "dist"):
        (source / name).mkdir(parents=True)
        (source / name / "a.py").touch()
    (tmp_path / "outside").write_text("out")
    (source / "link").symlink_to("../outside")
    (tmp_path / "there" / "extensions").mkdir()
    extension = Extension(name="topics", kind=ExtensionKind.LOCAL, origin=str(source), path=source, digest="")
    send_extensions(make_fleet(connections), [extension])
    there = tmp_path / "there/extensions/topics__topics"
    assert sorted(one.relative_to(there).as_posix() for one in there.rglob("*") if not one.is_dir()) == [
        "link",
        "topics/build/a.py",
    ]
    assert not (there / "link").is_symlink()


def test_a_link_as_a_resource_arrives_with_its_content(connections: Any, tmp_path: Path) -> None:
    (tmp_path / "data.tsv").write_text("a")
    (tmp_path / "link.tsv").symlink_to("data.tsv")
    make_fleet(connections).send({"data": str(tmp_path / "link.tsv")}, "data")
    arrived = tmp_path / "there/data/data__link.tsv"
    assert (arrived.is_symlink(), arrived.read_text()) == (False, "a")
