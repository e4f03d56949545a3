"""The program that drains a node, with a dashboard on loopback and a fake ``ray`` command."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from unittest.mock import create_autospec

import pytest

from flambe_ansible.errors import ClusterBusyError, ClusterConfigurationError
from flambe_ansible.launch import shrinking
from flambe_ansible.runtimes import draining
from flambe_ansible.runtimes.ray_service import Drained, RayService
from tests.unit.cli.made_up import HOSTS
from tests.unit.fleets import make_connections, make_fleet

TOKEN = "a-token"


class Dashboard:
    """What Ray's dashboard answers; the node at 10.0.0.2 ends some queries after it was drained."""

    def __init__(self, folder: Path, *, queries: int) -> None:
        self.folder = folder
        self.left = queries
        self.work: list[dict[str, str]] = []
        self.tokens: set[str] = set()

    @property
    def drained(self) -> list[str]:
        path = self.folder / "calls"
        return path.read_text().splitlines() if path.exists() else []

    def answer(self, path: str) -> Any:
        if not path.startswith("/api/v0/nodes"):
            return self.work if path.startswith("/api/v0/tasks") else []
        if self.drained:
            self.left -= 1
        head = {"node_id": "aa", "node_ip": "10.0.0.1", "state": "ALIVE", "is_head_node": True}
        state = "ALIVE" if self.left > 0 else "DEAD"
        return [head, {"node_id": "bb", "node_ip": "10.0.0.2", "state": state, "is_head_node": False}]


@pytest.fixture
def dashboard(tmp_path: Path) -> Iterator[Dashboard]:
    made = Dashboard(tmp_path, queries=3)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            made.tokens.add(self.headers.get("Authorization", ""))
            body = json.dumps({"data": {"result": {"result": made.answer(self.path)}}}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_args: Any) -> None:
            """Write nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    made.url = f"http://127.0.0.1:{server.server_port}"  # type: ignore[attr-defined]
    (tmp_path / "token").write_text(TOKEN)
    (tmp_path / "bin").mkdir()
    yield made
    server.shutdown()
    server.server_close()


def drain(dashboard: Any, address: str = "10.0.0.2", *, seconds: float = 20, code: int = 0) -> dict[str, Any]:
    """Run the program as a host does: on a plain Python, from standard input."""
    ray = dashboard.folder / "bin" / "ray"
    ray.write_text(
        f'#!/bin/sh\necho "$RAY_AUTH_MODE" "$@" >> {dashboard.folder}/calls\n'
        f"echo Error: the node is gone\nexit {code}\n"
    )
    ray.chmod(0o755)
    words = (address, str(dashboard.folder), 6379, dashboard.url, "token", seconds)
    program = f"{Path(draining.__file__).read_text()}\nmain{words!r}\n"
    done = subprocess.run(
        [sys.executable, "-I", "-"],
        input=program,
        env={"HOME": str(dashboard.folder), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=True,
    )
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def test_a_node_is_drained_and_awaited(dashboard: Dashboard) -> None:
    assert drain(dashboard) == {"found": True, "drained": True, "running": [], "error": ""}
    assert dashboard.left <= 0
    [call] = dashboard.drained
    assert call == (
        "token drain-node --address 10.0.0.1:6379 --node-id bb --reason DRAIN_NODE_REASON_PREEMPTION"
        " --reason-message the host is removed --deadline-remaining-seconds 20"
    )
    assert dashboard.tokens == {f"Bearer {TOKEN}"}


def test_what_still_runs_after_the_limit_is_named(dashboard: Dashboard) -> None:
    dashboard.left = 1000
    dashboard.work = [{"name": "train"}, {"name": "train"}]
    result = drain(dashboard, seconds=0.5)
    assert (result["drained"], result["running"]) == (False, ["2 tasks: train"])


def test_a_host_without_a_node_is_not_drained(dashboard: Dashboard) -> None:
    assert drain(dashboard, "10.0.0.9")["drained"]
    assert dashboard.drained == []


def test_a_refused_drain_is_an_error(dashboard: Dashboard) -> None:
    result = drain(dashboard, code=1)
    assert (result["drained"], result["error"]) == (False, "ray drain-node: Error: the node is gone")


def test_nothing_is_removed_if_a_node_is_not_drained_except_with_force() -> None:
    _, first, second, *_ = HOSTS
    connections = make_connections()
    ray = create_autospec(RayService, instance=True, stop_command="stop", start_command="start", drains=object())
    ray.drain.side_effect = lambda _connections, _head, host, *, seconds: Drained(
        drained=host is not second, running=("1 task: train",) if host is second else ()
    )
    take_out = partial(shrinking.drain, make_fleet(connections), ray, [first, second], seconds=3, cluster="demo")
    with pytest.raises(ClusterBusyError, match=f"nothing was removed; {second.name}: 1 task: train") as caught:
        take_out(force=False)
    assert (caught.value.exit_code, "--force" in (caught.value.hint or "")) == (11, True)
    calls = [(call.args[0].name, call.args[1]) for call in connections.run.call_args_list]
    assert calls == [(first.name, "stop"), (first.name, "start")]  # it joins again
    take_out(force=True)
    assert {call.args[0].name for call in connections.run.call_args_list} == {first.name, second.name}


def test_the_last_factory_stays() -> None:
    with pytest.raises(ClusterConfigurationError, match="at least one factory"):
        shrinking.check_removal("demo", HOSTS, HOSTS[1:])
