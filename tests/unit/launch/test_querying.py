"""The query of a state: the hosts that answered last are asked while the provider lists the hosts."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from flambe_ansible import SSHCluster
from flambe_ansible.errors import ClusterError
from flambe_ansible.hosts import Host
from flambe_ansible.launch.querying import StatusQuery
from tests.unit.scale.simulation import KEY, Simulation, make_cluster

HOSTS = 4


@pytest.fixture
def cluster(tmp_path: Path, simulation: Simulation) -> Iterator[SSHCluster]:
    """A cluster whose hosts answered the last command; connections to them were started."""
    with make_cluster(tmp_path, HOSTS) as first:
        first.run()
    simulation.clear()
    with make_cluster(tmp_path, HOSTS) as made:
        made.attach_early()
        yield made


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The addresses of the hosts of each question."""
    found: list[list[str]] = []
    ask = StatusQuery._ask_health

    def count(query: StatusQuery, running: Sequence[Host]) -> object:
        found.append([host.address for host in running])
        return ask(query, running)

    monkeypatch.setattr(StatusQuery, "_ask_health", count)
    return found


def list_hosts(cluster: SSHCluster, monkeypatch: pytest.MonkeyPatch, find: Callable[[list[Host]], list[Host]]) -> None:
    """Let the provider return other hosts; ``find`` gets the known ones."""
    known = cluster._provider.find()
    monkeypatch.setattr(cluster, "find_hosts", lambda: find(known))
    monkeypatch.setattr(cluster._provider, "host_keys", lambda _host: [KEY])


def test_the_hosts_are_asked_once_while_the_provider_lists_them(
    cluster: SSHCluster, simulation: Simulation, asked: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    ended = threading.Event()
    ask = StatusQuery._ask_health

    def finish(query: StatusQuery, running: Sequence[Host]) -> object:
        found = ask(query, running)
        ended.set()
        return found

    def wait(hosts: list[Host]) -> list[Host]:
        assert ended.wait(30)
        return hosts

    monkeypatch.setattr(StatusQuery, "_ask_health", finish)
    list_hosts(cluster, monkeypatch, wait)
    found = cluster.status()
    assert len(found.factories) == HOSTS - 1
    assert found.silent == {}
    assert len(asked) == 1
    assert set(simulation.connections.values()) == {1}
    head, *factories = [simulation.commands[host.key_alias] for host in found.hosts]
    assert head > 1
    assert set(factories) == {1}


def test_a_replaced_host_is_asked_at_its_new_address(
    cluster: SSHCluster, simulation: Simulation, asked: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    list_hosts(cluster, monkeypatch, lambda hosts: [*hosts[:-1], replace(hosts[-1], address="10.9.9.9", alias="new")])
    found = cluster.status()
    first, second = asked
    assert first == ["10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4"]
    assert second == ["10.0.0.1", "10.0.0.2", "10.0.0.3", "10.9.9.9"]
    assert simulation.commands["new"] == 1
    assert {one.target.address for one in cluster.connections._masters.values()} >= set(second)
    assert found.silent == {}


def test_a_host_that_has_ended_is_not_asked_again(
    cluster: SSHCluster, asked: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    list_hosts(cluster, monkeypatch, lambda hosts: hosts[:-1])
    assert len(cluster.status().factories) == HOSTS - 2
    assert asked[1:] == [["10.0.0.1", "10.0.0.2", "10.0.0.3"]]


def test_only_the_hosts_that_were_not_known_are_asked_then(
    cluster: SSHCluster, simulation: Simulation, asked: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    new = {"name": "rack4_factory_3", "index": 3, "address": "10.0.0.5", "private_ip": "10.0.0.5", "alias": "new"}
    list_hosts(cluster, monkeypatch, lambda hosts: [*hosts, replace(hosts[-1], **new)])
    found = cluster.status()
    assert asked[1:] == [["10.0.0.5"]]
    assert len(found.gpus) == HOSTS + 1
    assert set(simulation.connections.values()) == {1}


def test_a_provider_that_fails_ends_the_questions(
    cluster: SSHCluster, asked: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_hosts: list[Host]) -> list[Host]:
        raise ClusterError("no answer")

    list_hosts(cluster, monkeypatch, fail)
    with pytest.raises(ClusterError, match="no answer"):
        cluster.status()


@pytest.mark.parametrize("content", ["", "[]", "{"])
def test_without_a_record_the_hosts_of_the_provider_are_asked(
    tmp_path: Path, simulation: Simulation, asked: list[list[str]], content: str
) -> None:
    with make_cluster(tmp_path, HOSTS) as cluster:
        cluster.run()
    (cluster.state_dir / "reached.json").write_text(content)
    with make_cluster(tmp_path, HOSTS) as cluster:
        cluster.attach_early()
        cluster.status()
    assert len(asked) == 1
