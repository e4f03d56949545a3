"""Launches of up to 1,000 simulated hosts: what is done per host does not grow with their number."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from flambe_ansible import SSHCluster
from tests.unit.scale.simulation import FRESH, HOLDS, Simulation, make_cluster

FEW, MANY = 250, 1000
MOST = 4.5  # times as much for four times as many hosts


@pytest.fixture
def simulation(monkeypatch: pytest.MonkeyPatch) -> Simulation:
    found = Simulation()
    found.install(monkeypatch)
    return found


@pytest.fixture
def make(tmp_path: Path, simulation: Simulation) -> Callable[..., SSHCluster]:
    return lambda hosts, **more: make_cluster(tmp_path / str(hosts), hosts, **more)


def count_calls(work: Callable[[], object]) -> int:
    """Count the calls of Python functions in this thread and its pools: a measure of CPU time without noise."""
    import threading

    calls = 0

    def count(_frame: object, event: str, _argument: object) -> None:
        nonlocal calls
        calls += event in ("call", "c_call")

    threading.setprofile(count)
    sys.setprofile(count)
    try:
        work()
    finally:
        sys.setprofile(None)
        threading.setprofile(None)  # type: ignore[arg-type]
    return calls


@pytest.mark.parametrize("hosts", [4, 64, 256])
def test_a_warm_launch_runs_one_command_per_host_over_one_connection(
    make: Callable[..., SSHCluster], simulation: Simulation, hosts: int
) -> None:
    cluster = make(hosts, orchestrator_timeout=1, factories_timeout=1)
    simulation.answer = HOLDS
    with cluster:
        result = cluster.run()
    assert result.log is None
    assert len(result.hosts) == hosts
    assert simulation.inventories == []  # Ansible did not run
    assert set(simulation.connections.values()) == {1}
    head, *factories = [simulation.commands[host.key_alias] for host in cluster.hosts]
    assert set(factories) == {1}
    assert head <= 2


def test_nothing_grows_faster_than_the_number_of_hosts(
    make: Callable[..., SSHCluster], simulation: Simulation
) -> None:
    found = {}
    for hosts in (FEW, MANY):
        cluster = make(hosts)
        simulation.answer = FRESH

        def work(cluster: SSHCluster = cluster) -> None:
            with cluster:
                cluster.run()
                simulation.answer = HOLDS
                cluster.plan()
                cluster.status()
                cluster.inventory()
                cluster.run()

        simulation.clear()
        calls = count_calls(work)
        found[hosts] = {
            "calls": calls,
            "commands": simulation.commands.total(),
            "bytes": simulation.sent,
            "connections": simulation.connections.total(),
            "inventory": simulation.inventories[0],
            "tools": simulation.tools.total(),
            "known_hosts": simulation.reads,
        }
    print(found)
    for name, amount in found[MANY].items():
        assert amount <= max(MOST * found[FEW][name], 50), f"{name}: {found[FEW][name]} -> {amount}"
