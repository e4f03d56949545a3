"""State files of another version are refused in one line, and kept."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import pytest

from flambe_ansible.files import StateVersionError
from flambe_ansible.fleet import records
from flambe_ansible.hosts import Host, HostState, Role
from flambe_ansible.journal import Journal
from flambe_ansible.lab import state
from flambe_ansible.lab.state import Settings
from flambe_ansible.providers import addresses, places
from flambe_ansible.providers.places import Place
from flambe_ansible.version import __version__

PLACE = Place(cluster="demo", creator="ada", endpoint="", region="us-east-1", account="1")
HOST = Host(name="demo_orchestrator", role=Role.ORCHESTRATOR, state=HostState.RUNNING, address="10.0.0.1")
SETTINGS = Settings(name="blue", network="10.9.0.0/24", port=1, image="")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(state, "lab_dir", lambda _name: tmp_path)
    return tmp_path


FILES: dict[str, tuple[Callable[[Path], object], Callable[[Path], object]]] = {
    "journal.json": (lambda f: Journal(f).read(), lambda f: Journal(f).open(role="Factory", count=1, digest="")),
    "places.json": (places.read, lambda f: places.record(f, PLACE)),
    records.HOSTS_FILE: (records.read_hosts, lambda f: records.write_hosts(f, [HOST])),
    addresses.ADDRESSES_FILE: (addresses.read, lambda f: addresses.write(f, {"head": "10.0.0.1"})),
    "lab.json": (lambda _f: state.load("blue"), lambda _f: state.save(SETTINGS)),
}


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("version", [2, 0, "1"])
def test_another_version_is_refused_and_kept(folder: Path, name: str, version: object) -> None:
    path, text = folder / name, json.dumps({"version": version, "new": True})
    path.write_text(text)
    for call in FILES[name]:
        with pytest.raises(StateVersionError) as caught:
            call(folder)
        message = f"{path} has version {version!r}, and flambe-ansible {__version__} supports version 1"
        assert caught.value.message == message
        assert str(caught.value.hint).startswith("use the flambe-ansible that wrote it, or remove ")
        assert path.read_text() == text


@pytest.mark.parametrize("name", FILES)
def test_what_is_written_has_a_version_and_is_read(folder: Path, name: str) -> None:
    read, write = FILES[name]
    assert not read(folder)
    write(folder)
    assert json.loads((folder / name).read_text())["version"] == 1
    assert read(folder)
    write(folder)


def test_files_without_a_version_are_read(folder: Path) -> None:
    (folder / "places.json").write_text(json.dumps([asdict(PLACE)]))
    (folder / records.HOSTS_FILE).write_text(json.dumps([asdict(HOST)]))
    (folder / addresses.ADDRESSES_FILE).write_text(json.dumps({"head": "10.0.0.1"}))
    (folder / "lab.json").write_text(json.dumps(asdict(SETTINGS)))
    assert places.read(folder) == [PLACE]
    assert records.read_hosts(folder) == [HOST]
    assert addresses.read(folder) == {"head": "10.0.0.1"}
    assert state.load("blue") == SETTINGS


def test_a_record_of_another_version_does_not_stop_other_clusters(folder: Path) -> None:
    for name, document in (("a", {"version": 2}), ("b", [asdict(PLACE)])):
        (folder / name).mkdir()
        (folder / name / "places.json").write_text(json.dumps(document))
    assert places.read_all(folder) == [PLACE]
