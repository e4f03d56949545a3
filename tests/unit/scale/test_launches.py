"""Launches of up to 1,000 simulated hosts: what is done per host does not grow with their number."""

from __future__ import annotations

import io
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from flambe_ansible import SSHCluster
from flambe_ansible.playbook_events import Recorder
from flambe_ansible.ssh.parallel import WORKERS
from tests.unit.scale.simulation import FRESH, HOLDS, Simulation, make_board, make_cluster

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


@pytest.mark.parametrize(("error", "commands"), [({}, 2), ({"error": "no answer from Ray"}, 3)])
def test_ray_answers_with_the_verification(
    make: Callable[..., SSHCluster], simulation: Simulation, error: dict[str, str], commands: int
) -> None:
    """The head lists its jobs and is verified; without an answer, Ray is asked again, with more time."""
    nodes = [{"address": f"10.0.0.{number}", "alive": True, "resources": {}} for number in range(1, 5)]
    simulation.answer, simulation.ray = HOLDS, {"ray_version": "2.60.0", "nodes": nodes}
    simulation.early_ray = {**simulation.ray, **error}
    with make(4, runtime="ray") as cluster:
        result = cluster.run()
    assert result.log is None
    assert result.ray
    assert result.ray.count_alive(result.hosts) == 4
    head, *factories = [simulation.commands[host.key_alias] for host in result.hosts]
    assert (head, set(factories)) == (commands, {1})


@pytest.mark.parametrize("hosts", [4, 64])
def test_connections_that_are_opened_early_are_the_only_ones(
    make: Callable[..., SSHCluster], simulation: Simulation, hosts: int
) -> None:
    with make(hosts) as cluster:
        cluster.run()
    simulation.clear()
    simulation.answer = HOLDS
    with make(hosts) as cluster:
        cluster.attach_early()
        assert len(cluster.connections._early) == min(hosts, WORKERS)
        cluster.run()
        assert cluster.connections._early == {}
    assert set(simulation.connections.values()) == {1}
    assert len(simulation.connections) == hosts


def test_nothing_grows_faster_than_the_number_of_hosts(make: Callable[..., SSHCluster], simulation: Simulation) -> None:
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
    for name, amount in found[MANY].items():
        assert amount <= max(MOST * found[FEW][name], 50), f"{name}: {found[FEW][name]} -> {amount}"


def draw(hosts: int) -> tuple[int, str]:
    """Count the calls of one frame of the live table."""
    board = make_board(hosts)
    console = Console(file=io.StringIO(), width=80, height=40)
    calls = count_calls(lambda: console.print(board.render(40)))
    return calls, console.file.getvalue()  # type: ignore[attr-defined]


def test_a_frame_of_the_live_table_costs_what_it_shows() -> None:
    draw(10)  # rich loads modules
    (few, _), (many, shown) = draw(FEW), draw(MANY)
    assert many <= 1.1 * few
    assert "963 more hosts not shown · 997 of 1000 hosts done" in shown
    assert f"factory {MANY - 1}" in shown  # a host that waits is shown


def test_the_events_of_a_playbook_cost_the_same_for_each_host() -> None:
    def play(hosts: int) -> int:
        recorder = Recorder()
        names = [f"rack_factory_{index}" for index in range(hosts)]

        def work() -> None:
            for name in names:
                data = {"host": name, "role": "flambe", "task": "Install", "res": {"msg": "no space left"}}
                recorder.handle({"event": "runner_on_start", "event_data": data})
                recorder.handle({"event": "runner_on_failed", "event_data": data})
            recorder.handle({"event": "playbook_on_stats", "event_data": {"failures": dict.fromkeys(names, 1)}})
            assert all(len(one.failures) == 1 for one in recorder.results().values())

        return count_calls(work)

    assert play(MANY) <= MOST * play(FEW)
