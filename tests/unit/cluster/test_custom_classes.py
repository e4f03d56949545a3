"""Methods that a provider with three hooks inherits."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from unittest.mock import create_autospec

import pytest

from flambe_ansible import Cluster
from flambe_ansible.errors import ClusterConfigurationError, ClusterError, HostConnectionError, UnsupportedHostError
from flambe_ansible.fleet import records, reservation
from flambe_ansible.hosts import Host
from flambe_ansible.jobs.instances import CPUFactoryInstance, GPUFactoryInstance, OrchestratorInstance
from flambe_ansible.launch.plan import Action
from flambe_ansible.launch.status import ClusterState
from flambe_ansible.ssh import Completed


class Mine(Cluster):
    """A provider written like those of flambé."""

    def load_all_instances(self) -> None:
        self.orchestrator = self.get_orchestrator("203.0.113.1", "10.0.0.1")
        self.factories.append(self.get_factory("203.0.113.2", "10.0.0.2"))
        self.factories.append(self.get_gpu_factory("203.0.113.2", "10.0.0.2"))
        self.get_factory("10.0.0.3", port=2222)


class Ending(Mine):
    """A provider that terminates its hosts."""

    def terminate_instances(self) -> list[Host]:
        ended = self.find_hosts()
        self.forget_hosts()
        return ended


class Empty(Mine):
    """A provider that finds no hosts."""

    def load_all_instances(self) -> None:
        return


def test_hosts_have_the_classes_of_flambe(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = Mine("a", 2, "key", "me")
    cluster.load_all_instances()
    orchestrator = cluster.orchestrator
    assert type(orchestrator) is OrchestratorInstance
    assert type(cluster.get_gpu_factory("203.0.113.2", "10.0.0.2")) is GPUFactoryInstance
    assert {type(one) for one in cluster.factories if one.name == "a_factory_0"} == {GPUFactoryInstance}
    assert cluster.orchestrator is orchestrator
    connect(cluster, monkeypatch)  # makes the objects anew
    assert [type(one) for one in cluster.factories] == [GPUFactoryInstance, CPUFactoryInstance]
    cluster.hosts = [replace(host, instance_type="g4dn.xlarge") for host in cluster.hosts]
    assert {type(one) for one in cluster.factories} == {GPUFactoryInstance}


def connect(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """Connect without real hosts."""
    for name in ("wait_each", "probe_each"):
        method = getattr(cluster.connections, name)
        monkeypatch.setattr(cluster.connections, name, create_autospec(method, return_value={}))
    cluster.connect()


@pytest.mark.parametrize(("use_public", "first"), [(True, "203.0.113.1"), (False, "10.0.0.1")])
def test_hosts_are_registered_once_and_named(use_public: bool, first: str) -> None:
    cluster = Mine("a", 2, "key", "me", use_public=use_public)
    cluster.load_all_instances()
    cluster.load_all_instances()
    assert [(host.name, host.index) for host in cluster.hosts] == [
        ("a_orchestrator", 0),
        ("a_factory_0", 0),
        ("a_factory_1", 1),
    ]
    assert cluster.hosts[0].address == first
    assert [host.private_ip for host in cluster.hosts] == ["10.0.0.1", "10.0.0.2", "10.0.0.3"]
    assert [(host.port, host.private_port) for host in cluster.hosts] == [(22, 22), (22, 22), (2222, 2222)]
    assert [host.public_ip for host in cluster.hosts] == ["203.0.113.1", "203.0.113.2", None]
    assert len({host.key_alias for host in cluster.hosts}) == 3
    assert all(":" not in host.key_alias for host in cluster.hosts)


def test_loaded_hosts_are_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = Mine("a", 2, "key", "me")
    assert cluster.find_hosts() == []
    assert [host.action for host in cluster.plan().hosts] == [Action.CREATE] * 3
    assert "Mine does not report existing hosts" in cluster.plan().notes[0]
    cluster.load_all_instances()
    connect(cluster, monkeypatch)
    assert [instance.name for instance in cluster.factories] == ["a_factory_0", "a_factory_1"]
    again = Mine("a", 3, "key", "me")
    assert again.find_hosts() == cluster.hosts
    assert [host.action for host in again.plan().hosts] == [Action.REUSE] * 3 + [Action.CREATE]
    again.hosts = again.find_hosts()[:1]
    assert again.find_hosts() == cluster.hosts


def test_terminated_hosts_are_removed_from_the_record(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = Ending("a", 2, "key", "me")
    cluster.load_all_instances()
    connect(cluster, monkeypatch)
    assert cluster.check_termination() == cluster.hosts
    assert len(cluster.terminate_instances()) == 3
    assert cluster.find_hosts() == []
    assert Ending("a", 2, "key", "me").find_hosts() == []


def test_hosts_of_a_provider_without_termination_are_kept() -> None:
    with pytest.raises(ClusterConfigurationError, match="the hosts of Mine are not managed by flambe-ans"):
        Mine("a", 2, "key", "me").check_termination()


def test_a_provider_that_loads_no_hosts_is_an_error() -> None:
    with pytest.raises(ClusterError, match=r"Empty\.load_all_instances\(\) loaded no orchestrator"):
        Empty("a", 2, "key", "me").connect()


def test_a_broken_record_is_ignored(tmp_path: Path) -> None:
    for text in ("", "{", '[{"name": "a"}]', '[{"role": "x", "state": "y"}]', "[1]"):
        (tmp_path / records.HOSTS_FILE).write_text(text)
        assert records.read_hosts(tmp_path) == []


@pytest.mark.parametrize(
    "dead", [["a_orchestrator"], ["a_orchestrator", "a_factory_0", "a_factory_1"], ["a_factory_1"]]
)
def test_a_status_has_the_reason_of_each_host_that_does_not_answer(
    monkeypatch: pytest.MonkeyPatch, dead: list[str]
) -> None:
    cluster = Mine("a", 2, "key", "me", runtime="none", answer_timeout=12)
    cluster.load_all_instances()
    records.write_hosts(cluster.state_dir, cluster.hosts)
    wait = create_autospec(cluster.connections.wait_each)
    wait.return_value = {name: HostConnectionError(f"{name}: no SSH", host=name) for name in dead}
    monkeypatch.setattr(cluster.connections, "wait_each", wait)
    monkeypatch.setattr(reservation, "find_holder", create_autospec(reservation.find_holder, return_value=None))
    answer = Completed(returncode=0, stdout="", stderr="")
    monkeypatch.setattr(cluster.connections, "ask", create_autospec(cluster.connections.ask, return_value=answer))
    found = cluster.status()
    assert (found.state, dict(found.silent)) == (ClusterState.DEGRADED, {name: f"{name}: no SSH" for name in dead})
    assert found.unreachable == ("a_orchestrator: no SSH" if "a_orchestrator" in dead else "")
    limits = [wait.call_args.kwargs["patience"](host) for host in cluster.hosts]
    assert {(limit.seconds, limit.reach) for limit in limits} == {(12, 2)}


def test_a_launch_goes_on_without_factories_that_do_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = Mine("a", 2, "key", "me")
    cluster.load_all_instances()
    everyone = cluster.hosts
    error = UnsupportedHostError("old", host="a_factory_1")
    for name, answer in (("wait_each", {}), ("probe_each", {"a_factory_1": error})):
        method = getattr(cluster.connections, name)
        monkeypatch.setattr(cluster.connections, name, create_autospec(method, return_value=answer))
    assert [(one.host.name, one.error) for one in cluster.connect_each()] == [("a_factory_1", error)]
    assert [host.name for host in cluster.hosts] == ["a_orchestrator", "a_factory_0"]
    assert records.read_hosts(cluster.state_dir) == everyone
    with pytest.raises(UnsupportedHostError):
        cluster._unload({"a_orchestrator": error})
