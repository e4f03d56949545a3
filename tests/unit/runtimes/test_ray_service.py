"""The nodes that Ray reports, compared with the hosts."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any
from unittest.mock import create_autospec

import pytest

from flambe_ansible.hosts import Host, Role
from flambe_ansible.runtimes import ray_service as ray
from flambe_ansible.runtimes.flambe import FlambeRuntime
from flambe_ansible.ssh import Completed, Connections, Patience

SERVICE = FlambeRuntime.ray
assert SERVICE is not None
HOSTS = [
    Host(name="c_orchestrator", role=Role.ORCHESTRATOR, private_ip="10.0.0.1"),
    Host(name="c_factory_0", role=Role.FACTORY, index=0, private_ip="10.0.0.2"),
    Host(name="c_factory_1", role=Role.FACTORY, index=1, private_ip="10.0.0.3"),
]
ADDRESSES = [host.private_ip for host in HOSTS]


def answer(*alive: str, dead: Sequence[str] = ()) -> str:
    nodes = [{"address": one, "alive": one not in dead, "resources": {"CPU": 2.0}} for one in (*alive, *dead)]
    return json.dumps({"ray_version": "0.7.6", "nodes": nodes})


def make_connections(*answers: str, limit: float = 60.0) -> Any:
    """Make connections that return these answers of Ray, the last one again and again."""
    connections = create_autospec(Connections, instance=True, answer=Patience(seconds=limit, setting="answer_timeout"))
    left = list(answers)

    def ask(host: Host, command: str, **_: Any) -> Completed:
        if "journalctl" in command:
            return Completed(returncode=0, stdout=f"log of {host.name}\n", stderr="")
        assert command.endswith(f"ray-nodes --timeout {max(limit - 1, 1):g}")
        return Completed(returncode=0, stdout=left.pop(0) if len(left) > 1 else left[0], stderr="")

    connections.ask.side_effect = ask
    return connections


@pytest.mark.parametrize(
    ("text", "error", "addresses"),
    [
        (answer("10.0.0.1"), "", {"10.0.0.1"}),
        ("a warning first\n" + answer("10.0.0.1", dead=["10.0.0.2"]) + "\n", "", {"10.0.0.1"}),
        ('{"error": "no Ray on port 12345"}', "no Ray on port 12345", set()),
        ("Traceback", "Traceback", set()),
        ("", "no answer", set()),
    ],
)
def test_parse(text: str, error: str, addresses: set[str]) -> None:
    nodes = ray.parse(text)
    assert (nodes.error, nodes.addresses) == (error, addresses)


def test_nodes_are_awaited_until_every_host_has_a_live_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray, "_PAUSE", 0.001)
    reported: list[list[str]] = []
    connections = make_connections('{"error": "no Ray"}', answer("10.0.0.1", "10.0.0.3"), answer(*ADDRESSES))
    nodes = SERVICE.await_nodes(
        connections, HOSTS, report=lambda missing: reported.append([host.name for host in missing])
    )
    assert nodes.count_alive(HOSTS) == 3
    assert reported == [[host.name for host in HOSTS], ["c_factory_0"], []]


@pytest.mark.parametrize(
    ("text", "missing", "message"),
    [
        (answer("10.0.0.1", "10.0.0.3"), ("c_factory_0",), "no live node on c_factory_0, after 0.01 s"),
        (answer("10.0.0.1", "10.0.0.3", dead=["10.0.0.2"]), ("c_factory_0",), "no live node on c_factory_0"),
        ('{"error": "x\\nno Ray"}', ("c_orchestrator", "c_factory_0", "c_factory_1"), "did not answer: no Ray"),
    ],
)
def test_missing_hosts_are_reported_with_their_logs_and_the_setting(
    text: str, missing: tuple[str, ...], message: str
) -> None:
    connections = make_connections(text, limit=0.01)
    nodes = SERVICE.await_nodes(connections, HOSTS)
    error = SERVICE.explain(connections, nodes, nodes.find_missing(HOSTS))
    assert error.missing == missing
    assert error.logs == {name: f"log of {name}" for name in missing}
    assert message in error.message
    assert "raise answer_timeout (now 0.01 s)" in (error.hint or "")
    assert error.exit_code == 7
