"""The descriptions of services are those of botocore, read faster."""

from __future__ import annotations

from pathlib import Path

import botocore.session
import pytest
from botocore.loaders import Loader

from flambe_ansible.ec2.models import make_loader


@pytest.mark.parametrize(
    ("service", "kind"), [("ec2", "service-2"), ("ec2", "endpoint-rule-set-1"), ("sts", "service-2")]
)
def test_a_description_equals_that_of_botocore(service: str, kind: str) -> None:
    found, wanted = (loader.load_service_model(service, kind) for loader in (make_loader(), Loader()))
    assert found == wanted
    assert list(found) == list(wanted)


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
