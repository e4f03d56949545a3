from __future__ import annotations

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import boto3
import pytest
from botocore.stub import Stubber

from flambe_ansible.ec2 import alarms


@pytest.mark.parametrize(
    ("hours", "period", "count"),
    [
        (0, 300, 12),
        (1, 300, 24),
        (5, 300, 72),
        (23, 300, 288),
        (24, 3600, 25),
        (48, 3600, 49),
        (167, 3600, 168),
        (168, 3600, 168),
    ],
)
def test_alarms_wait_for_an_hour_longer_than_the_host_in_periods_that_cloudwatch_accepts(
    hours: int, period: int, count: int
) -> None:
    assert alarms.split_time(alarms.minutes_of(hours)) == (period, count)


@pytest.mark.parametrize("hours", range(169))
def test_all_hours_respect_the_limits_of_cloudwatch(hours: int) -> None:
    period, count = alarms.split_time(alarms.minutes_of(hours))
    assert period >= 300  # EC2 reports every five minutes
    assert period % 60 == 0
    assert period * count <= (86_400 if period < 3600 else 604_800)
    assert period * count == min((hours + 1) * 3600, 168 * 3600)


@pytest.mark.parametrize("percent", [1, 30, 1000])
def test_the_threshold_is_below_that_of_the_host(percent: float) -> None:
    for cpus in (1, 2, 96, 192):
        assert 0 < alarms.threshold(percent) < percent / cpus
    assert alarms.threshold(30) == alarms.CPU_THRESHOLD


@pytest.mark.parametrize(("minutes", "total"), [(1, 300), (5, 300), (6, 600), (61, 3900), (24 * 60 + 1, 25 * 3600)])
def test_minutes_are_rounded_up(minutes: int, total: int) -> None:
    period, count = alarms.split_time(minutes)
    assert period * count == total


@pytest.mark.parametrize("minutes", [0, -1, 168 * 60 + 1])
def test_split_time_rejects_invalid_values(minutes: int) -> None:
    with pytest.raises(ValueError, match="168 hours"):
        alarms.split_time(minutes)


@pytest.mark.parametrize(
    ("region", "partition", "arn"),
    [
        ("eu-west-1", "aws", "arn:aws:automate:eu-west-1:ec2:terminate"),
        ("cn-north-1", "aws-cn", "arn:aws-cn:automate:cn-north-1:ec2:terminate"),
        ("us-gov-west-1", "aws-us-gov", "arn:aws-us-gov:automate:us-gov-west-1:ec2:terminate"),
    ],
)
def test_build_alarm(region: str, partition: str, arn: str) -> None:
    alarm = alarms.build_alarm("i-1", minutes=60, region=region, partition=partition, owner="flambe cluster c of ada")
    assert alarm == {
        "AlarmName": "Flambe_Instance_Terminate_CPU_Utilization_i-1",
        "AlarmDescription": "flambe cluster c of ada: terminates i-1 after 60 minutes below 0.1 % CPU",
        "ActionsEnabled": True,
        "AlarmActions": [arn],
        "Namespace": "AWS/EC2",
        "MetricName": "CPUUtilization",
        "Dimensions": [{"Name": "InstanceId", "Value": "i-1"}],
        "Statistic": "Average",
        "ComparisonOperator": "LessThanThreshold",
        "Threshold": 0.1,
        "Period": 300,
        "EvaluationPeriods": 12,
        "DatapointsToAlarm": 12,
        "TreatMissingData": "notBreaching",
        "WarmUpConfiguration": {
            "WarmUpPeriodDurationInMinutes": 60,
            "OnlyStartEvaluatingAfterWarmUpPeriodEnds": True,
        },
    }
    client = boto3.client("cloudwatch", region_name=region)
    with Stubber(client) as stub:  # boto3 checks every argument
        stub.add_response("put_metric_alarm", {}, alarm)
        client.put_metric_alarm(**alarm)


@pytest.mark.parametrize(("minutes", "warm_up"), [(5, 5), (2880, 2880), (2940, 2880), (168 * 60, 2880)])
def test_warm_up_covers_the_timeout_up_to_two_days(minutes: int, warm_up: int) -> None:
    alarm = alarms.build_alarm("i-1", minutes=minutes, region="eu-west-1", owner="me")
    assert alarm["WarmUpConfiguration"]["WarmUpPeriodDurationInMinutes"] == warm_up


def _make_alarm(instance_id: str, owner: str = "flambe cluster c of ada") -> dict[str, Any]:
    return alarms.build_alarm(instance_id, minutes=60, region="eu-west-1", owner=owner)


def _names(*numbered: tuple[str, int]) -> list[str]:
    return [alarms.alarm_name(one, number) for one, number in numbered]


def test_reset_sets_a_new_alarm_before_it_deletes_the_previous_one(account: Any) -> None:
    log: list[tuple[str, Any]] = []
    client = account.cloudwatch
    client.meta.events.register(
        "provide-client-params.*.*", lambda params, model, **_: log.append((model.name, dict(params)))
    )
    alarms.reset(client, {"i-1": _make_alarm("i-1"), "i-2": _make_alarm("i-2")})
    assert [name for name, _ in log] == ["DescribeAlarms", "PutMetricAlarm", "PutMetricAlarm"]
    assert sorted(account.alarms()) == _names(("i-1", 1), ("i-2", 1))
    log.clear()
    alarms.reset(client, {"i-1": _make_alarm("i-1"), "i-2": None})
    assert [name for name, _ in log] == ["DescribeAlarms", "PutMetricAlarm", "DeleteAlarms"]
    assert sorted(log[2][1]["AlarmNames"]) == _names(("i-1", 1), ("i-2", 1))
    assert list(account.alarms()) == _names(("i-1", 2))  # a new name: CloudWatch starts its warm-up
    alarms.reset(client, {"i-1": _make_alarm("i-1")})
    assert list(account.alarms()) == _names(("i-1", 1))


def _names_after(account: Any, seconds: float, renewed: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Set alarms, renew them after so many seconds, and return the names of the alarms that exist then."""
    alarms.reset(account.cloudwatch, {one: _make_alarm(one) for one in renewed})
    later = datetime.now(UTC) + timedelta(seconds=seconds)
    monkeypatch.setattr(alarms, "datetime", SimpleNamespace(now=lambda _zone: later))
    alarms.renew(account.cloudwatch, renewed)
    return list(account.alarms())


@pytest.mark.parametrize(("age", "number"), [(0, 1), (3290, 1), (3310, 2), (-60, 2)])
def test_renew_keeps_an_alarm_that_cannot_act_before_the_idle_time(
    age: int, number: int, account: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert _names_after(account, age, {"i-1": _make_alarm("i-1")}, monkeypatch) == _names(("i-1", number))


@pytest.mark.parametrize(
    "change",
    [{"Threshold": 0.2}, {"EvaluationPeriods": 13, "DatapointsToAlarm": 13}, {"AlarmActions": []}],
    ids=lambda change: next(iter(change)),
)
def test_renew_replaces_an_alarm_with_other_settings(
    change: dict[str, Any], account: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    renewed = {"i-1": {**_make_alarm("i-1"), **change}, "i-2": _make_alarm("i-2")}
    assert _names_after(account, 60, renewed, monkeypatch) == _names(("i-2", 1), ("i-1", 2))


def test_renew_replaces_alarms_whose_actions_were_disabled(account: Any) -> None:
    alarms.reset(account.cloudwatch, {"i-1": _make_alarm("i-1")})
    account.cloudwatch.disable_alarm_actions(AlarmNames=_names(("i-1", 1)))
    alarms.renew(account.cloudwatch, {"i-1": _make_alarm("i-1")})
    assert list(account.alarms()) == _names(("i-1", 2))


def test_renew_leaves_one_alarm_of_several_and_none_of_an_unwanted(account: Any) -> None:
    for name in _names(("i-1", 1), ("i-1", 2), ("i-2", 1)):
        account.cloudwatch.put_metric_alarm(**{**_make_alarm("i-1"), "AlarmName": name})
    alarms.renew(account.cloudwatch, {"i-1": _make_alarm("i-1"), "i-2": None})
    assert list(account.alarms()) == _names(("i-1", 3))


def test_the_longest_alarm_is_always_replaced_since_it_waits_no_longer_than_its_host(account: Any) -> None:
    longest = alarms.build_alarm("i-1", minutes=alarms.minutes_of(168), region="eu-west-1", owner="me")
    alarms.reset(account.cloudwatch, {"i-1": longest})
    alarms.renew(account.cloudwatch, {"i-1": longest})
    assert list(account.alarms()) == _names(("i-1", 2))


@pytest.mark.parametrize("hours", range(168))
def test_an_alarm_that_is_kept_acts_after_its_host_at_the_earliest(hours: int) -> None:
    period, count = alarms.split_time(alarms.minutes_of(hours))
    assert period * count - alarms.KEPT_SECONDS > hours * 3600 or period * count == 168 * 3600


def test_the_longest_name_is_within_the_limit_of_cloudwatch() -> None:
    assert len(alarms.alarm_name("i-0123456789abcdef0", 1000)) <= 255
    assert alarms.read_instance_id(alarms.alarm_name("i-0123456789abcdef0", 1000)) == "i-0123456789abcdef0"


def test_alarms_of_instances_with_longer_ids_are_kept(account: Any) -> None:
    for one in ("i-1", "i-12"):
        account.cloudwatch.put_metric_alarm(**_make_alarm(one))
    alarms.remove(account.cloudwatch, ["i-1"])
    assert list(account.alarms()) == _names(("i-12", 1))


def test_reset_without_instances_calls_nothing() -> None:
    client = boto3.client("cloudwatch", region_name="eu-west-1")
    with Stubber(client):
        alarms.reset(client, {})


def test_find_owned_returns_only_alarms_of_the_cluster(account: Any) -> None:
    for instance_id, owner in [
        ("i-1", alarms.describe_owner("c", "ada")),
        ("i-2", alarms.describe_owner("c2", "ada")),
        ("i-3", alarms.describe_owner("c", "ada2")),
    ]:
        account.cloudwatch.put_metric_alarm(**_make_alarm(instance_id, owner))
    owned = alarms.find_owned(account.cloudwatch, alarms.describe_owner("c", "ada"))
    assert owned == [alarms.alarm_name("i-1")]


def test_alarms_are_deleted_in_chunks_of_100() -> None:
    client = boto3.client("cloudwatch", region_name="eu-west-1")
    ids = [f"i-{number}" for number in range(150)]
    names = [alarms.alarm_name(one) for one in ids]
    with Stubber(client) as stub:
        listed = {"AlarmNamePrefix": alarms.PREFIX, "MaxRecords": 100}
        found: list[Any] = [{"AlarmName": name} for name in names]
        stub.add_response("describe_alarms", {"MetricAlarms": found[:100], "NextToken": "more"}, listed)
        stub.add_response("describe_alarms", {"MetricAlarms": found[100:]}, {**listed, "NextToken": "more"})
        stub.add_response("delete_alarms", {}, {"AlarmNames": names[:100]})
        stub.add_response("delete_alarms", {}, {"AlarmNames": names[100:]})
        alarms.remove(client, ids)
        stub.assert_no_pending_responses()
