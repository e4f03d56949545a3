"""Clusters on EC2 that are stopped and started, and factories that are removed."""

from __future__ import annotations

from typing import Any

import pytest

from flambe_ansible.errors import ClusterConfigurationError, ClusterNotFoundError
from flambe_ansible.events import StepEvent
from flambe_ansible.hosts import HostState
from flambe_ansible.launch.status import ClusterState, Health, derive_state
from tests.unit.ec2.support import Account


def derive(cluster: Any) -> ClusterState:
    return derive_state(cluster.find_hosts(), factories_num=2, launching=False, health=Health(), has_ray=False)


def test_all_hosts_are_stopped_and_their_alarms_removed_afterwards(make_cluster: Any, account: Account) -> None:
    cluster = make_cluster(orchestrator_timeout=3)
    cluster.load_all_instances()
    cluster.calls.clear()
    seen: list[tuple[str, str]] = []
    cluster.aws.suspend(
        observer=lambda event: seen.append((event.host, event.status)) if isinstance(event, StepEvent) else None
    )
    assert {one["State"]["Name"] for one in account.instances()} == {"stopped"}
    assert cluster.calls.changing == ["StopInstances", "DeleteAlarms"]
    assert account.alarms() == {}
    assert sorted(set(seen)) == [
        (name, status)
        for name in ("trial_factory_0", "trial_factory_1", "trial_orchestrator")
        for status in ("changed", "running")
    ]
    assert derive(cluster) is ClusterState.SUSPENDED


def test_a_launch_sets_the_alarms_before_it_starts_suspended_hosts(make_cluster: Any, account: Account) -> None:
    cluster = make_cluster(orchestrator_timeout=3)
    cluster.load_all_instances()
    before = {host.name: (host.instance_id, host.private_ip) for host in cluster.hosts}
    cluster.aws.suspend(observer=lambda _event: None)
    again = make_cluster(orchestrator_timeout=3)
    again.load_all_instances()
    changing = again.calls.changing
    assert "RunInstances" not in changing
    assert len([one for one in changing if one == "StartInstances"]) == 1
    assert changing.index("PutMetricAlarm") < changing.index("StartInstances")
    assert len(account.alarms()) == 3
    assert {host.name: (host.instance_id, host.private_ip) for host in again.hosts} == before


def test_a_second_suspension_changes_nothing(make_cluster: Any) -> None:
    cluster = make_cluster()
    cluster.load_all_instances()
    cluster.aws.suspend(observer=lambda _event: None)
    cluster.calls.clear()
    cluster.aws.suspend(observer=lambda _event: None)
    assert cluster.calls.changing == []


def test_hosts_that_powered_themselves_off_are_stopped_not_suspended(make_cluster: Any) -> None:
    cluster = make_cluster()
    cluster.load_all_instances()
    cluster.aws.suspend(observer=lambda _event: None)
    hosts = cluster.find_hosts()
    from dataclasses import replace

    states = [replace(hosts[0], reason="Client.InstanceInitiatedShutdown"), *hosts[1:]]
    found = derive_state(states, factories_num=2, launching=False, health=Health(), has_ray=False)
    assert found is ClusterState.STOPPED


def test_data_on_an_instance_store_is_lost_only_with_force(make_cluster: Any, account: Account) -> None:
    cluster = make_cluster(factories_type="g4dn.xlarge", runtime="none")
    cluster.load_all_instances()
    with pytest.raises(ClusterConfigurationError) as caught:
        cluster.check_suspension()
    assert (
        "trial_factory_0 (g4dn.xlarge), trial_factory_1 (g4dn.xlarge): a stop deletes the data" in caught.value.message
    )
    assert "trial_orchestrator" not in caught.value.message
    assert len(cluster.check_suspension(force=True)) == 3


def test_a_cluster_without_hosts_cannot_be_suspended(make_cluster: Any) -> None:
    with pytest.raises(ClusterNotFoundError, match="there are no hosts of cluster trial"):
        make_cluster().check_suspension()


def test_one_factory_is_terminated_with_its_alarm(make_cluster: Any, account: Account) -> None:
    cluster = make_cluster(factories_num=3)
    cluster.load_all_instances()
    cluster.aws.remove([cluster.hosts[2]])
    assert account.names() == ["trial_factory_0", "trial_factory_2", "trial_orchestrator"]
    assert len(account.alarms()) == 2
    again = make_cluster(factories_num=3)
    again.keep_factories(2)
    again.load_all_instances()
    assert "RunInstances" not in again.calls.changing


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["trial_orchestrator"], "the orchestrator of trial cannot be removed"),
        (["trial_factory_0", "trial_factory_1"], "at least one"),
    ],
)
def test_the_orchestrator_and_the_last_factory_are_not_removed(
    make_cluster: Any, account: Account, names: list[str], message: str
) -> None:
    cluster = make_cluster()
    cluster.load_all_instances()
    with pytest.raises(ClusterConfigurationError, match=message):
        cluster.remove_hosts(names)
    assert len(account.instances()) == 3


def test_hosts_of_a_suspended_cluster_are_not_removed(make_cluster: Any, account: Account) -> None:
    cluster = make_cluster()
    cluster.load_all_instances()
    cluster.aws.suspend(observer=lambda _event: None)
    assert {host.state for host in cluster.find_hosts()} == {HostState.STOPPED}
    with pytest.raises(ClusterNotFoundError, match="the orchestrator of cluster trial is not running"):
        cluster.remove_hosts(["trial_factory_1"])
    assert len(account.instances()) == 3
