"""The regions and accounts of clusters on EC2, with moto in this process."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import EndpointConnectionError

from flambe_ansible.ec2 import api, session
from flambe_ansible.hosts import Location
from flambe_ansible.providers import places
from tests.unit.ec2.support import REGION

ACCOUNT = "123456789012"  # moto's


def _use_account(monkeypatch: pytest.MonkeyPatch, account: str) -> None:
    """Use other credentials."""
    monkeypatch.setattr(session, "find_access_key", lambda _session: f"AKIA{account}")
    monkeypatch.setattr(api, "get_identity", lambda _sts: {"Account": account})


def test_a_plan_and_the_status_show_region_and_account(make_cluster: Any) -> None:
    """https://docs.aws.amazon.com/STS/latest/APIReference/API_GetCallerIdentity.html."""
    plan = make_cluster(factories_type="m5.large", orchestrator_type="m5.large").plan()
    assert (plan.region, plan.account, plan.notes) == (REGION, ACCOUNT, ())
    assert (plan.to_dict()["region"], plan.to_dict()["account"]) == (REGION, ACCOUNT)
    assert make_cluster().status().location == Location(region=REGION, account=ACCOUNT)


def test_a_plan_asks_the_services_at_once(make_cluster: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each call waits until all have started."""
    cluster = make_cluster(factories_num=1)
    cluster.load_all_instances()
    monkeypatch.setattr(session, "find_access_key", lambda _session: "AKIANEW")  # whose account is not known
    started = threading.Barrier(3, timeout=20)

    def wait_for_others(made: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            started.wait()
            return made(*arguments)

        return call

    for name in ("describe_volumes", "find_alarms", "get_identity"):
        monkeypatch.setattr(api, name, wait_for_others(getattr(api, name)))
    found = make_cluster(factories_num=1).plan()
    assert found.account == ACCOUNT
    assert not found.changes_hosts


def test_the_account_may_be_unknown(make_cluster: Any) -> None:
    cluster = make_cluster()
    sts = cluster.clients.make("sts")

    def fail(**_: Any) -> None:
        raise EndpointConnectionError(endpoint_url="https://sts")

    sts.meta.events.register_first("before-call.sts", fail)
    cluster.clients.make = lambda *_args, **_options: sts
    assert str(cluster.location()) == REGION


def test_a_cluster_in_another_account_is_reported(make_cluster: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    make_cluster().load_all_instances()
    _use_account(monkeypatch, "999999999999")
    note = f"this machine also created a cluster trial in {REGION}, account {ACCOUNT}, which is not part of this one"
    assert make_cluster().location().notes == (note,)
    assert make_cluster().plan().notes == (note,)
    assert make_cluster(name="trial2").location().notes == ()
    assert make_cluster(creator="eve").location().notes == ()
    _use_account(monkeypatch, "")
    assert make_cluster().location().notes == ()


def test_a_cluster_in_another_region_is_reported_until_it_is_terminated(make_cluster: Any) -> None:
    make_cluster().load_all_instances()
    other = make_cluster(region_name="us-east-1")
    (note,) = other.location().notes
    assert f"{REGION}, account {ACCOUNT}" in note
    make_cluster().terminate_instances()
    assert other.location().notes == ()


def test_a_rollback_of_all_hosts_removes_the_record(make_cluster: Any) -> None:
    cluster = make_cluster(factories_num=1)
    cluster.load_all_instances()
    larger = make_cluster(factories_num=2)
    larger.load_all_instances()
    larger.rollback_env()
    assert places.read(cluster.state_dir)
    cluster.rollback_env()
    assert places.read(cluster.state_dir) == []


def test_unreadable_records_are_ignored(make_cluster: Any) -> None:
    cluster = make_cluster()
    (cluster.state_dir / places.FILE).write_text("[{}]")
    assert cluster.location().notes == ()
