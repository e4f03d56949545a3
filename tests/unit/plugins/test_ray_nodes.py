"""ray_nodes.py with the answers of old and new Ray."""

from __future__ import annotations

import importlib.util
import json
import platform
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from types import ModuleType
from typing import Any

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


class Api:
    """Answers like the dashboard of Ray 2."""

    def __init__(self, token: str = "") -> None:
        self.token = token
        self.paths: list[str] = []
        self.nodes = [
            {"state": "ALIVE", "node_ip": "10.0.0.1", "resources_total": {"CPU": 2.0}},
            {"state": "DEAD", "node_ip": "10.0.0.2", "resources_total": {"CPU": 2.0}},
        ]
        api = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                api.paths.append(self.path)
                code, text = api.answer(self.path, self.headers.get("Authorization", ""))
                self.send_response(code)
                self.end_headers()
                self.wfile.write(text.encode())

            def log_message(self, *_arguments: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}"

    def answer(self, path: str, authorization: str) -> tuple[int, str]:
        if self.token and authorization != f"Bearer {self.token}":
            return 401, "Unauthorized"
        if path == "/api/version":
            return 200, json.dumps({"ray_version": "2.60.0"})
        if path == "/api/local_raylet_healthz":
            return 200, "success"
        return 200, json.dumps({"result": True, "data": {"result": {"result": self.nodes}}})


@pytest.fixture
def api() -> Iterator[Api]:
    made = Api("t" * 32)
    yield made
    made.server.shutdown()


@pytest.fixture
def token(tmp_path: Path) -> Path:
    path = tmp_path / "auth_token"
    path.write_text("t" * 32)
    path.chmod(0o600)
    return path


def test_all_nodes_from_the_dashboard(api: Api, token: Path) -> None:
    code, document = run("--address", "127.0.0.1:1", "--head", "--dashboard", api.url, "--token", str(token))
    assert (code, document) == (
        0,
        {
            "python_version": platform.python_version(),
            "ray_version": "2.60.0",
            "nodes": [
                {"address": "10.0.0.1", "alive": True, "resources": {"CPU": 2.0}},
                {"address": "10.0.0.2", "alive": False, "resources": {}},
            ],
        },
    )


def expect(api: Api, token: Path, addresses: str, within: float) -> tuple[int, dict[str, Any]]:
    words = ["--address", "127.0.0.1:1", "--head", "--dashboard", api.url, "--token", str(token)]
    return run(*words, "--expect", addresses, "--within", str(within))


def test_one_process_waits_until_the_expected_nodes_are_alive(api: Api, token: Path) -> None:
    answers = [[], [{"state": "DEAD", "node_ip": "10.0.0.1"}], [{"state": "ALIVE", "node_ip": "10.0.0.1"}]]
    api.nodes = api.nodes[:0]

    def answer(path: str, authorization: str) -> tuple[int, str]:
        if path.startswith("/api/v0/nodes"):
            api.nodes = answers.pop(0)
        return original(path, authorization)

    original, api.answer = api.answer, answer  # type: ignore[method-assign]
    code, document = expect(api, token, "10.0.0.1", 30)
    assert (code, [node["alive"] for node in document["nodes"]], answers) == (0, [True], [])


def test_nodes_that_are_not_alive_in_time_are_printed_as_they_are(api: Api, token: Path) -> None:
    code, document = expect(api, token, "10.0.0.1,10.0.0.2", 0.1)
    assert (code, [node["alive"] for node in document["nodes"]]) == (0, [True, False])
    token.write_text("u" * 32)
    code, document = expect(api, token, "10.0.0.1", 0.1)
    assert (code, document) == (1, {"error": f"Ray at {api.url} refuses the token in {token}"})


def test_the_own_node_from_the_agent(api: Api, token: Path) -> None:
    words = ["--address", "10.0.0.9:6379", "--dashboard", api.url, "--node", "10.0.0.2", "--ray-version", "2.60.0"]
    code, document = run(*words, "--token", str(token))
    node = {"address": "10.0.0.2", "alive": True, "resources": {}}
    assert (code, document.pop("python_version"), document) == (
        0,
        platform.python_version(),
        {"ray_version": "2.60.0", "nodes": [node]},
    )


def test_a_missing_token_is_an_error(api: Api, token: Path) -> None:
    token.unlink()
    code, document = run("--address", "127.0.0.1:1", "--head", "--dashboard", api.url, "--token", str(token))
    reason = f"the token {token} cannot be read (No such file or directory); launch the cluster again to write it"
    assert (code, document) == (1, {"error": reason})


def test_a_closed_port_of_a_live_node_is_found(api: Api, token: Path) -> None:
    def check(*ports: int) -> int:
        words = ["--address", "127.0.0.1:1", "--head", "--dashboard", api.url, "--token", str(token), "--check-ports"]
        argv = [sys.executable, SCRIPT, *words, "--ports", ",".join(map(str, ports))]
        return subprocess.run(argv, env={}, check=False).returncode

    api.nodes = [{"state": "ALIVE", "node_ip": "127.0.0.1"}, {"state": "DEAD", "node_ip": "127.0.0.2"}]
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as other:
        ports = [server.getsockname()[1] for server in (one, other)]
        assert check(*ports) == 0
        other.close()
        assert check(*ports) == 1
        assert check() == 0  # old Ray
        token.write_text("u" * 32)
        assert check(*ports) == 0  # a launch asks Ray itself


def test_a_wrong_token_is_an_error(api: Api, token: Path) -> None:
    token.write_text("u" * 32)
    code, document = run("--address", "127.0.0.1:1", "--head", "--dashboard", api.url, "--token", str(token))
    assert (code, document) == (1, {"error": f"Ray at {api.url} refuses the token in {token}"})


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda path: path.unlink(), "No such file or directory"),
        (lambda path: path.write_text(""), "is empty"),
        (lambda path: path.chmod(0o644), "other users can read"),
    ],
)
def test_the_start_is_refused_without_a_private_token(token: Path, change: Callable[[Path], None], reason: str) -> None:
    words = [sys.executable, SCRIPT, "--address", "127.0.0.1:1", "--head", "--wait", "--token", str(token)]
    assert subprocess.run(words, check=False).returncode == 0
    change(token)
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "Ray does not start without the token of the cluster" in done.stderr
    assert reason in done.stderr
