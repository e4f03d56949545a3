"""The reservation and the verification of hosts while a launch asks the provider."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from flambe_ansible import SSHCluster
from flambe_ansible.errors import ClusterBusyError, HostConnectionError, HostError
from flambe_ansible.fleet.reservation import Reservation
from flambe_ansible.hosts import Host, HostState
from flambe_ansible.launch import lock
from flambe_ansible.launch.early import EarlyVerification, is_complete
from flambe_ansible.ssh import waiting
from tests.unit.cli.made_up import HOSTS
from tests.unit.scale.simulation import KEY, Simulation, make_cluster

HEAD, ONE, *_ = RUNNING = [replace(host, state=HostState.RUNNING) for host in HOSTS]
ONCE = {host.name: "verify(1)" for host in RUNNING}


def test_it_covers_the_same_hosts_and_programs_alone() -> None:
    found = EarlyVerification(RUNNING, ONCE, dict)
    assert found.covers(RUNNING, ONCE)
    assert not found.covers(RUNNING, {**ONCE, ONE.name: "verify(2)"})
    assert not found.covers(RUNNING, {})
    assert not found.covers(RUNNING[:-1], ONCE)
    assert not found.covers([HEAD, replace(ONE, private_ip="10.9.9.9"), *RUNNING[2:]], ONCE)


def test_a_host_that_fails_is_verified_again() -> None:
    def lose() -> Mapping[str, HostError]:
        raise HostConnectionError("lost", host=ONE.name)

    error = HostConnectionError("lost", host=ONE.name)
    for verify in (lose, lambda: {ONE.name: error}):
        assert not EarlyVerification(RUNNING, ONCE, verify).covers(RUNNING, ONCE)


@pytest.mark.parametrize("state", [one for one in HostState if one is not HostState.RUNNING])
def test_only_running_hosts_are_complete(state: HostState) -> None:
    factories = len(RUNNING) - 1
    assert is_complete(RUNNING, factories=factories)
    assert not is_complete([*RUNNING[:-1], replace(RUNNING[-1], state=state)], factories=factories)


def test_hosts_to_add_or_to_remove_are_not_complete() -> None:
    factories = len(RUNNING) - 1
    assert not is_complete(RUNNING, factories=factories + 1)
    assert not is_complete(RUNNING, factories=factories - 1)
    assert not is_complete(RUNNING[1:], factories=factories)
    assert not is_complete([], factories=0)


COUNT = 4
BUSY = {"held": False, "holder": {"who": "other@there", "what": "launch"}}


class Reservations:
    """The reservations that were taken, by the address of their host; ``busy`` ones are refused."""

    def __init__(self, start: Callable[..., Any]) -> None:
        self.taken: list[str] = []
        self.busy = 0
        self.held: list[Any] = []
        self._start = start

    def take(self, connections: object, host: Host) -> Any:
        self.taken.append(host.address)
        process, answer = self._start(connections, host)
        if self.busy:
            self.busy -= 1
            return process, BUSY
        self.held.append(process)
        return process, answer

    @property
    def open(self) -> int:
        return sum(not process.stdin.closed for process in self.held)


@pytest.fixture
def reservations(simulation: Simulation, monkeypatch: pytest.MonkeyPatch) -> Reservations:
    found = Reservations(Reservation._start)
    monkeypatch.setattr(Reservation, "_start", lambda _self, *args: found.take(*args))
    return found


@pytest.fixture
def cluster(tmp_path: Path, simulation: Simulation, reservations: Reservations) -> Iterator[SSHCluster]:
    """A cluster whose hosts answered the last command; connections to them were started."""
    with make_cluster(tmp_path, COUNT) as first:
        first.run()
    simulation.clear()
    reservations.taken.clear()
    with make_cluster(tmp_path, COUNT) as made:
        made.attach_early()
        yield made
    assert reservations.open == 0


def list_hosts(cluster: SSHCluster, monkeypatch: pytest.MonkeyPatch, change: Mapping[str, Any], index: int) -> None:
    """Let the provider return another host; its keys are known."""
    hosts = cluster._provider.find()
    hosts[index] = replace(hosts[index], **change)
    monkeypatch.setattr(cluster, "find_hosts", lambda: hosts)
    monkeypatch.setattr(cluster._provider, "host_keys", lambda _host: [KEY])


def test_a_prepared_launch_reserves_and_verifies_once(
    cluster: SSHCluster, simulation: Simulation, reservations: Reservations
) -> None:
    cluster.prepare_launch()
    assert cluster._prepared
    assert cluster._prepared.verification._errors.wait() == {}
    assert simulation.commands.total() == COUNT  # before the launch
    result = cluster.run()
    assert result.log is None
    assert simulation.commands.total() == COUNT
    assert set(simulation.connections.values()) == {1}
    assert reservations.taken == ["10.0.0.1"]
    assert reservations.open == 0
    cluster.run()  # the next launch begins anew
    assert reservations.taken == ["10.0.0.1"] * 2
    assert simulation.commands.total() == 2 * COUNT


@pytest.mark.parametrize(("index", "taken"), [(0, ["10.0.0.1", "10.9.9.9"]), (1, ["10.0.0.1"])])
def test_a_replaced_host_is_reserved_and_verified(
    cluster: SSHCluster,
    simulation: Simulation,
    reservations: Reservations,
    monkeypatch: pytest.MonkeyPatch,
    index: int,
    taken: list[str],
) -> None:
    cluster.prepare_launch()
    list_hosts(cluster, monkeypatch, {"address": "10.9.9.9", "private_ip": "10.9.9.9", "alias": "new"}, index)
    result = cluster.run()
    assert [host.address for host in result.hosts][index] == "10.9.9.9"
    assert reservations.taken == taken
    assert simulation.commands["new"] == 1


def test_a_reserved_cluster_is_refused_or_waited_for(
    cluster: SSHCluster, simulation: Simulation, reservations: Reservations
) -> None:
    reservations.busy = 2
    cluster.prepare_launch()
    with pytest.raises(ClusterBusyError, match="reserved by other@there: launch is running"):
        cluster.run()
    assert simulation.commands.total() == 0
    reservations.busy, cluster.wait_limit = 2, 30.0
    cluster.prepare_launch()
    cluster.attach_early()
    assert cluster.run().log is None


def test_an_abandoned_launch_ends_its_reservation(
    cluster: SSHCluster, reservations: Reservations, monkeypatch: pytest.MonkeyPatch
) -> None:
    go = threading.Event()
    take = Reservation.take

    def wait(reservation: Reservation, *args: Any) -> None:
        assert go.wait(30)
        take(reservation, *args)

    monkeypatch.setattr(Reservation, "take", wait)
    cluster.prepare_launch()
    prepared = cluster._prepared
    assert prepared
    cluster.abandon_launch()  # while it is being taken
    go.set()
    assert prepared._reserved.wait() is False
    assert reservations.taken == ["10.0.0.1"]
    assert reservations.open == 0


def test_an_abandoned_launch_does_not_wait_for_a_host_that_was_stopped(
    cluster: SSHCluster, reservations: Reservations, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A launch that starts it connects to it later, at the same address."""
    started = threading.Event()

    def wait(_name: str, *_args: Any, stop: threading.Event, **_options: Any) -> None:
        started.set()
        assert stop.wait(30)
        raise HostConnectionError("no answer", host="head")

    cluster.connections._drop_early(list(cluster.connections._early))  # they failed
    monkeypatch.setattr(waiting, "wait_for_banner", wait)
    monkeypatch.setattr(cluster._access, "list_early", cluster.find_hosts)
    cluster.prepare_launch()
    prepared = cluster._prepared
    assert prepared
    assert started.wait(30)
    cluster.abandon_launch()
    monkeypatch.setattr(waiting, "wait_for_banner", lambda *_args, **_options: None)
    assert cluster.run().log is None
    assert prepared._reserved.wait() is False
    assert reservations.taken == ["10.0.0.1"]


def test_nothing_is_prepared_for_other_hosts_or_beside_another_launch(
    tmp_path: Path, cluster: SSHCluster, reservations: Reservations
) -> None:
    with lock.hold(cluster.state_dir):
        cluster.prepare_launch()
    cluster.factories_num = COUNT
    cluster.prepare_launch()
    with make_cluster(tmp_path, COUNT) as unconnected:
        unconnected.prepare_launch()
        assert unconnected._prepared is None
    assert cluster._prepared is None
    assert reservations.taken == []


def test_a_silent_orchestrator_is_asked_once(
    cluster: SSHCluster, simulation: Simulation, reservations: Reservations, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[Sequence[Host]] = []
    access = cluster._access
    open_all = access.open

    def refuse(hosts: Sequence[Host], **options: Any) -> None:
        opened.append(hosts)
        if len(opened) == 1:
            raise HostConnectionError("no answer", host=hosts[0].name)
        open_all(hosts, **options)

    monkeypatch.setattr(access, "open", refuse)
    cluster.prepare_launch()
    assert cluster.run().log is None  # the launch connects to all of its hosts, and reserves it then
    assert len(opened) == 1
    assert reservations.taken == ["10.0.0.1"]
    assert set(simulation.connections.values()) == {1}
