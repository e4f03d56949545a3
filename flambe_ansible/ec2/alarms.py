"""CloudWatch alarms that terminate idle hosts.

An alarm looks back: put on a host that was idle for hours it would end it at once. CloudWatch's warm-up period is the
way to start the clock anew: a new alarm does not act before as much time as the host may idle has passed (48 hours at
most; the launch's own work on the host is in the window by then). The warm-up of an alarm that exists cannot be
restarted, so resetting one is to remove and create it.

Limits, from https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_PutMetricAlarm.html: period times
evaluation periods is at most 86,400 s for periods below an hour, and at most seven days for longer ones. Without
detailed monitoring, EC2 reports every five minutes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from flambe_ansible.ec2 import api

if TYPE_CHECKING:
    from mypy_boto3_cloudwatch.client import CloudWatchClient

PREFIX = "Flambe_Instance_Terminate_CPU_Utilization_"
NEVER = -1  # hours
MAX_HOURS = 168
CPU_THRESHOLD = 0.1  # percent

SHORT_PERIOD = 300  # seconds between two points of basic monitoring
LONG_PERIOD = 3600
SHORT_LIMIT = 86_400
MAX_WARM_UP = 2880  # minutes
THREADS = 8


def alarm_name(instance_id: str) -> str:
    """Name the alarm of an instance, as flambé does."""
    return PREFIX + instance_id


def minutes_of(hours: int) -> int:
    """Return the idle minutes that a timeout in hours stands for; 0 hours are one point of monitoring."""
    return hours * 60 if hours else SHORT_PERIOD // 60


def build_alarm(
    instance_id: str,
    *,
    minutes: int,
    region: str,
    partition: str = "aws",
    cpu_thresh: float = CPU_THRESHOLD,
    owner: str,
) -> dict[str, Any]:
    """Build the request for an alarm that terminates an idle instance.

    Args:
        instance_id: The instance.
        minutes: How many minutes in a row it must idle; rounded up to what CloudWatch can count.
        region: The instance's region.
        partition: Its partition, such as ``aws-cn``.
        cpu_thresh: Below this average CPU use, in percent of the whole machine, it is idle.
        owner: Whose alarm it is, in words; see ``describe_owner``.

    Returns:
        The arguments of PutMetricAlarm.
    """
    period, count = split_time(minutes)
    total = period * count // 60
    return {
        "AlarmName": alarm_name(instance_id),
        "AlarmDescription": f"{owner}: terminates {instance_id} after {total} minutes below {cpu_thresh} % CPU",
        "ActionsEnabled": True,
        "AlarmActions": [f"arn:{partition}:automate:{region}:ec2:terminate"],
        "Namespace": "AWS/EC2",
        "MetricName": "CPUUtilization",
        "Dimensions": [{"Name": "InstanceId", "Value": instance_id}],
        "Statistic": "Average",
        "ComparisonOperator": "LessThanThreshold",
        "Threshold": cpu_thresh,
        "Period": period,
        "EvaluationPeriods": count,
        "DatapointsToAlarm": count,
        "TreatMissingData": "notBreaching",  # a stopped host is not an idle one
        "WarmUpConfiguration": {
            "WarmUpPeriodDurationInMinutes": min(total, MAX_WARM_UP),
            "OnlyStartEvaluatingAfterWarmUpPeriodEnds": True,
        },
    }


def split_time(minutes: int) -> tuple[int, int]:
    """Split idle minutes into a period (seconds) and a number of periods that CloudWatch accepts.

    Raises:
        ValueError: It is no time, or more than seven days.
    """
    seconds = minutes * 60
    if not 0 < seconds <= MAX_HOURS * 3600:
        raise ValueError(f"an alarm can wait for 1 minute to {MAX_HOURS} hours, not for {minutes} minutes")
    period = SHORT_PERIOD if seconds <= SHORT_LIMIT else LONG_PERIOD
    return period, -(-seconds // period)


def describe_owner(cluster: str, creator: str) -> str:
    """Say whose alarm it is, so that alarms of hosts that are gone can be found."""
    return f"flambe cluster {cluster} of {creator}"


def reset(cloudwatch: CloudWatchClient, alarms: Mapping[str, Mapping[str, Any] | None], *, new: bool = False) -> None:
    """Give each instance its alarm, its clock starting now.

    Args:
        cloudwatch: The client.
        alarms: The alarm by instance id; None where the instance shall have none.
        new: Whether the instances were just created, so that none has an alarm yet.
    """
    if not new:
        remove(cloudwatch, list(alarms))
    wanted = [alarm for alarm in alarms.values() if alarm]
    if wanted:
        with ThreadPoolExecutor(THREADS) as pool:
            list(pool.map(lambda alarm: api.put_metric_alarm(cloudwatch, alarm), wanted))


def remove(cloudwatch: CloudWatchClient, instance_ids: Sequence[str]) -> None:
    """Remove the alarms of instances, those that exist."""
    remove_named(cloudwatch, find(cloudwatch, instance_ids))


def remove_named(cloudwatch: CloudWatchClient, names: Sequence[str]) -> None:
    """Remove alarms by their names."""
    if names:
        api.delete_alarms(cloudwatch, names)


def find(cloudwatch: CloudWatchClient, instance_ids: Sequence[str]) -> list[str]:
    """Return the names of the alarms that these instances have."""
    names = [alarm_name(instance_id) for instance_id in instance_ids]
    return [alarm["AlarmName"] for alarm in api.describe_alarms(cloudwatch, names)] if names else []


def find_owned(cloudwatch: CloudWatchClient, owner: str) -> list[str]:
    """Return the names of all alarms of a cluster, also those of hosts that are gone."""
    found = api.find_alarms(cloudwatch, PREFIX)
    return [alarm["AlarmName"] for alarm in found if alarm.get("AlarmDescription", "").startswith(f"{owner}: ")]
