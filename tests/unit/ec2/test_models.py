"""The descriptions of services are those of botocore, read faster."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import botocore.session
import pytest
from botocore.loaders import Loader

from flambe_ansible.ec2.models import make_loader


@pytest.fixture(autouse=True)
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FLAMBE_ANS_STATE", str(tmp_path / "state"))
    return tmp_path / "state/descriptions"


def without_texts(value: Any) -> Any:
    if isinstance(value, dict):
        texts = {name for name, one in value.items() if name == "documentation" and isinstance(one, str)}
        return {name: "" if name in texts else without_texts(one) for name, one in value.items()}
    return [without_texts(one) for one in value] if isinstance(value, list) else value


@pytest.mark.parametrize(
    ("service", "kind"), [("ec2", "service-2"), ("ec2", "endpoint-rule-set-1"), ("sts", "service-2")]
)
def test_a_description_equals_that_of_botocore(service: str, kind: str) -> None:
    wanted = Loader().load_service_model(service, kind)
    for found in (make_loader().load_service_model(service, kind) for _ in range(2)):  # the second one is kept
        assert without_texts(found) == without_texts(wanted)
        assert list(found) == list(wanted)


def test_a_large_description_is_kept_without_texts(kept: Path) -> None:
    first, second = (make_loader().load_service_model("ec2", "service-2") for _ in range(2))
    (file,) = kept.iterdir()
    assert first == second
    assert file.stat().st_mode & 0o777 == 0o600 and kept.stat().st_mode & 0o777 == 0o700
    texts = [one for shape in second["shapes"].values() for one in (shape.get("documentation"),) if one]
    assert texts == [] and "DescribeInstances" in second["operations"]


@pytest.mark.parametrize("damage", [b"", b"cut", None])
def test_a_damaged_file_is_replaced(kept: Path, damage: bytes | None) -> None:
    wanted = make_loader().load_service_model("ec2", "service-2")
    (file,) = kept.iterdir()
    good = file.read_bytes()
    file.write_bytes(good[: len(good) // 2] if damage is None else damage)
    assert make_loader().load_service_model("ec2", "service-2") == wanted
    assert file.read_bytes() == good


def test_another_release_of_botocore_is_read_anew(tmp_path: Path, kept: Path) -> None:
    folder = tmp_path / "data/many/2026-11-30"
    folder.mkdir(parents=True)
    path = folder / "service-2.json"
    for number in range(12):
        path.write_text(json.dumps({"operations": {f"Call{number}": {}}, "x": "y" * 200_000}))
        os.utime(path, (number, number))
        found = make_loader(str(tmp_path / "data")).load_service_model("many", "service-2")
        assert list(found["operations"]) == [f"Call{number}"]
    assert 0 < len(list(kept.iterdir())) < 12


def test_a_folder_that_cannot_be_written_is_no_error(tmp_path: Path, kept: Path) -> None:
    kept.parent.mkdir(parents=True)
    kept.write_text("a file")
    assert "RunInstances" in make_loader().load_service_model("ec2", "service-2")["operations"]


def test_the_folders_of_data_path_come_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    found = make_loader("~/one::$HOME/two").search_paths
    assert found[:2] == [f"{tmp_path}/one", f"{tmp_path}/two"]
    assert found[2:] == Loader().search_paths


def test_clients_have_every_call(tmp_path: Path) -> None:
    clients = []
    for loader in (make_loader(), Loader()):
        core = botocore.session.Session()
        core.register_component("data_loader", loader)
        core.set_credentials("a", "b")
        clients.append(core.create_client("ec2", region_name="us-east-1", endpoint_url="http://127.0.0.1:9"))
    ours, theirs = (set(client.meta.method_to_api_mapping) for client in clients)
    assert ours == theirs
    assert len(ours) > 700
