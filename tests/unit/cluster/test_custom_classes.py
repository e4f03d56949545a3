"""Methods that a provider with three hooks inherits."""

from __future__ import annotations

from pathlib import Path
from unittest.mock import create_autospec

import pytest

from flambe_ansible import Cluster
from flambe_ansible.errors import ClusterConfigurationError, ClusterError
from flambe_ansible.fleet import records
from flambe_ansible.hosts import Host
from flambe_ansible.launch.plan import Action


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


def connect(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """Connect without real hosts."""
    for name, answer in (("wait", None), ("probe", {})):
        method = getattr(cluster.connections, name)
        monkeypatch.setattr(cluster.connections, name, create_autospec(method, return_value=answer))
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
