"""The automatic shutdown of a cluster: its options for the roles, and its postponement."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from flambe_ansible.cluster.ssh import SSHCluster
from flambe_ansible.errors import ClusterConfigurationError, HostConnectionError
from flambe_ansible.fleet import idle
from flambe_ansible.fleet.idle import IdleState
from flambe_ansible.hosts import Host

RACK = {"orchestrator_ip": "10.0.0.1", "factories_ips": ["10.0.0.2"], "key": "key", "username": "me"}


def test_the_roles_get_the_options(make_cluster: Any) -> None:
    variables = make_cluster(
        orchestrator_timeout=2, factories_timeout=0, idle_command="true", idle_cpu_percent=60, runtime="none"
    )._role_variables()
    assert variables["cluster_orchestrator_idle_seconds"] == 7500
    assert variables["cluster_factories_idle_seconds"] == 300
    assert variables["idle_shutdown_command"] == "true"
    assert (variables["idle_shutdown_cpu_percent"], variables["idle_shutdown_alarm_percent"]) == (60, 0.2)


def test_hosts_that_one_has_are_not_powered_off_by_default() -> None:
    variables = SSHCluster("rack", **RACK, runtime="none")._role_variables()
    assert (variables["cluster_orchestrator_idle_seconds"], variables["cluster_factories_idle_seconds"]) == (-1, -1)
    assert variables["idle_shutdown_alarm_percent"] == 0
    asked = SSHCluster("rack", **RACK, runtime="none", factories_timeout=1)._role_variables()
    assert asked["cluster_factories_idle_seconds"] == 3600


def test_keep_without_automatic_shutdown_is_refused(make_cluster: Any) -> None:
    with pytest.raises(ClusterConfigurationError, match="no automatic shutdown: its timeouts are -1"):
        make_cluster(factories_timeout=-1).keep(60)


def test_keep_reaches_the_hosts_that_answer(make_cluster: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = make_cluster()
    cluster.load_all_instances()
    hosts = cluster.hosts
    kept: list[str] = []

    def attach_each(found: Sequence[Host]) -> dict[str, HostConnectionError]:
        assert list(found) == hosts
        cluster.hosts = hosts[:2]
        return {hosts[2].name: HostConnectionError(f"{hosts[2].name}: no answer", host=hosts[2].name)}

    def keep(_connections: Any, found: Sequence[Host], seconds: float) -> dict[str, IdleState]:
        assert seconds == 60
        kept.extend(host.name for host in found)
        return {host.name: IdleState() for host in found}

    monkeypatch.setattr(cluster, "find_running", lambda: hosts)
    monkeypatch.setattr(cluster, "attach_each", attach_each)
    monkeypatch.setattr(idle, "keep", keep)
    with pytest.raises(HostConnectionError, match=f"{hosts[2].name}: no answer"):
        cluster.keep(60)
    assert kept == [host.name for host in hosts[:2]]
