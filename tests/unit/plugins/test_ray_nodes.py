"""ray_nodes.py with the answers of old and new Ray."""

from __future__ import annotations

import importlib.util
import json
import socket
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from flambe_ansible.paths import collection

SCRIPT = collection() / "roles/ray_node/files/ray_nodes.py"


@pytest.fixture
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("ray_nodes", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_an_address_that_returned_is_listed_once(script: ModuleType) -> None:
    assert script.merge(
        [
            {"Alive": False, "NodeManagerAddress": "10.0.0.2", "Resources": {"CPU": 1.0}},
            {"Alive": True, "NodeManagerAddress": "10.0.0.2", "Resources": {"CPU": 2.0}},
            {"Alive": False, "NodeManagerAddress": "10.0.0.2", "Resources": {"CPU": 3.0}},
            {"Alive": False, "NodeManagerAddress": "10.0.0.1", "Resources": {"CPU": 1.0}},
        ]
    ) == [
        {"address": "10.0.0.1", "alive": False, "resources": {}},
        {"address": "10.0.0.2", "alive": True, "resources": {"CPU": 2.0}},
    ]


def run(*arguments: str, path: Path | None = None) -> tuple[int, dict[str, str]]:
    env = {"PYTHONPATH": str(path)} if path else {}
    done = subprocess.run([sys.executable, SCRIPT, *arguments], capture_output=True, text=True, env=env, check=False)
    return done.returncode, json.loads(done.stdout)


def test_no_head() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    code, document = run("--address", f"127.0.0.1:{port}")
    assert code == 1
    assert document["error"].startswith(f"nothing listens at 127.0.0.1:{port}")


def test_a_client_that_blocks(tmp_path: Path) -> None:
    (tmp_path / "ray.py").write_text("import time\nprint('noise')\ntime.sleep(60)\n")
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        code, document = run("--address", f"127.0.0.1:{port}", "--timeout", "1", path=tmp_path)
    assert (code, document) == (1, {"error": f"no answer from Ray at 127.0.0.1:{port} within 1 s"})


def test_read_from_a_driver(tmp_path: Path) -> None:
    text = "__version__ = '2.52.0'\ndef init(**k): print('noise')\n"
    text += "def nodes(): return [{'Alive': True, 'NodeManagerAddress': '10.0.0.1', 'Resources': {'CPU': 2.0}}]\n"
    (tmp_path / "ray.py").write_text(text)
    with socket.create_server(("127.0.0.1", 0)) as server:
        code, document = run("--address", f"127.0.0.1:{server.getsockname()[1]}", path=tmp_path)
    assert code == 0
    assert document["ray_version"] == "2.52.0"
    assert document["nodes"] == [{"address": "10.0.0.1", "alive": True, "resources": {"CPU": 2.0}}]
