"""Tunnels to ports on the orchestrator: ``open --port`` and ``tunnel --port``, with a fake cluster."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from flambe_ansible.cluster.cluster import Cluster as RealCluster
from flambe_ansible.jobs.tunnels import Tunnels
from tests.unit.cli.conftest import Run
from tests.unit.cli.made_up import HOSTS, FakeCluster
from tests.unit.fleets import make_connections, make_fleet

LOCAL = {8080: 8080, 5432: 40001}  # 5432 is in use on this machine


class Cluster(FakeCluster):
    """A cluster without a runtime, whose orchestrator has one open port or none."""

    listens = True

    def find_running(self) -> Any:
        return list(HOSTS)

    def attach(self, hosts: Any) -> None:
        self.calls.append(("attach", [host.name for host in hosts]))

    @property
    def fleet(self) -> Any:
        connections = make_connections("open\n" if self.listens else "")

        @contextlib.contextmanager
        def tunnel(_host: Any, remote: int, **_options: Any) -> Iterator[int]:
            yield LOCAL[remote]

        connections.tunnel.side_effect = tunnel
        return replace(make_fleet(connections), observer=self.observer)

    attach_orchestrator = RealCluster.attach_orchestrator


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch) -> Cluster:
    fake = Cluster()
    monkeypatch.setattr("flambe_ansible.cluster.loading.load_cluster", lambda _file: fake)
    monkeypatch.setattr(Tunnels, "keep", lambda _tunnels: None)
    return fake


@pytest.mark.parametrize("command", ["open", "tunnel"])
def test_ports_are_forwarded_with_every_runtime(run: Run, bare: Cluster, command: str) -> None:
    ports = ("--port", "8080", "--port", "5432", "--port", "8080")
    outcome = run(command, "c.yaml", *ports, "--json")
    assert (outcome.code, json.loads(outcome.stdout)) == (0, {"ports": {"8080": 8080, "5432": 40001}})
    assert bare.calls == [("attach", ["demo_orchestrator"]), "close"]
    first, second, *_ = run(command, "c.yaml", *ports).stdout.splitlines()
    form = {"open": "http://127.0.0.1:{}/", "tunnel": "127.0.0.1:{}"}[command]
    assert first.split() == [form.format(8080), "#", "port", "8080", "of", "demo_orchestrator"]
    assert second.split()[0] == form.format(40001)


def test_a_command_gets_the_local_ports_and_returns_its_code(run: Run, bare: Cluster) -> None:
    program = "import os, sys; sys.exit(3 if os.environ['FLAMBE_ANS_PORT_5432'] == '40001' else 4)"
    assert run("tunnel", "c.yaml", "--port", "5432", "--", sys.executable, "-c", program).code == 3


def test_a_port_on_which_nothing_listens_is_named(run: Run, bare: Cluster) -> None:
    bare.listens = False
    outcome = run("open", "c.yaml", "--port", "8080")
    assert outcome.code == 0
    assert "demo_orchestrator: nothing listens on 127.0.0.1:8080" in outcome.stderr


def test_a_wrong_port_is_refused(run: Run) -> None:
    outcome = run("open", "c.yaml", "--port", "70000")
    assert outcome.code == 2
    assert "70000" in outcome.stderr
