"""The alarms of a cluster's hosts, with moto in this process."""

from __future__ import annotations

from typing import Any

import pytest

from flambe_ansible.ec2 import alarms, instances
from tests.unit.ec2.support import Account


class _KilledError(BaseException):
    """Stands for the end of the process."""


def _alarms_per_host(account: Account) -> dict[str, int]:
    ids = [alarms.read_instance_id(name) for name in account.alarms()]
    return {one["InstanceId"]: ids.count(one["InstanceId"]) for one in account.instances()}


@pytest.fixture
def an_hour_later(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let each alarm be too old to be kept by the next launch."""
    monkeypatch.setattr(alarms, "KEPT_SECONDS", -1)


@pytest.mark.usefixtures("an_hour_later")
@pytest.mark.parametrize("moment", ["before-call", "after-call"])
@pytest.mark.parametrize("cut", range(6))
def test_no_host_is_without_an_alarm_if_a_relaunch_is_killed(
    make_cluster: Any, account: Account, moment: str, cut: int
) -> None:
    """A relaunch calls CloudWatch six times: it lists, sets three alarms, deletes three, and lists again."""
    make_cluster(orchestrator_timeout=2).load_all_instances()
    cluster = make_cluster(orchestrator_timeout=2)
    made: list[str] = []

    def kill(model: Any, **_: Any) -> None:
        if len(made) == cut:
            raise _KilledError
        made.append(model.name)

    cluster.clients.cloudwatch.meta.events.register(f"{moment}.cloudwatch", kill)
    with pytest.raises(_KilledError):
        cluster.load_all_instances()
    assert min(_alarms_per_host(account).values()) >= 1
    make_cluster(orchestrator_timeout=2).load_all_instances()
    assert list(_alarms_per_host(account).values()) == [1, 1, 1]
    assert len(account.alarms()) == 3


@pytest.mark.usefixtures("an_hour_later")
def test_each_host_has_an_alarm_at_every_call_of_a_relaunch(make_cluster: Any, account: Account) -> None:
    make_cluster(orchestrator_timeout=2).load_all_instances()
    cluster = make_cluster(orchestrator_timeout=2, factories_num=3)
    known = set(_alarms_per_host(account))
    seen: list[int] = []

    def look(model: Any, **_: Any) -> None:
        seen.append(min(number for one, number in _alarms_per_host(account).items() if one in known))

    cluster.clients.cloudwatch.meta.events.register("after-call.cloudwatch", look)
    cluster.load_all_instances()
    assert len(seen) > 6
    assert min(seen) >= 1


def test_a_launch_deletes_alarms_of_hosts_that_have_ended(make_cluster: Any, account: Account) -> None:
    for name in ("trial", "trial2"):
        make_cluster(name=name, orchestrator_timeout=2).load_all_instances()
    for number in (1, 4):  # one host of each cluster
        ended = account.instances(*["running", "terminated"])[number]["InstanceId"]
        account.ec2.terminate_instances(InstanceIds=[ended])  # as an alarm does: the alarm itself is kept
    make_cluster(orchestrator_timeout=2, factories_num=1).load_all_instances()
    assert list(_alarms_per_host(account).values()) == [1, 1, 1, 1]
    assert len(account.alarms()) == 5  # the one of the other cluster is kept


def test_an_alarm_of_an_instance_that_ec2_does_not_show_yet_is_kept(
    make_cluster: Any, account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster = make_cluster()
    cluster.load_all_instances()
    hidden = cluster.aws.build_alarm_of("i-0123456789abcdef0", 60)
    account.cloudwatch.put_metric_alarm(**hidden)
    make_cluster().load_all_instances()
    assert hidden["AlarmName"] in account.alarms()
    monkeypatch.setattr(instances, "VISIBLE_SECONDS", -1.0)
    make_cluster().load_all_instances()
    assert hidden["AlarmName"] not in account.alarms()
