"""CloudWatch alarms that terminate idle hosts.

A new alarm evaluates past metrics: on a host that was idle for hours it would fire at once. CloudWatch's warm-up period
prevents this: the alarm does not act until the idle time has passed (at most 48 hours; the window then includes the
launch's own work on the host). The warm-up of an existing alarm cannot be restarted, so an alarm is reset by removing
and creating it.

Limits, from https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_PutMetricAlarm.html: the
period times the evaluation periods is at most 86,400 s for periods below an hour, and at most seven days for longer
ones. Without detailed monitoring, EC2 reports every five minutes.
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
    """Convert an idle timeout in hours to minutes; 0 hours are one monitoring period."""
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
    """Build the arguments of PutMetricAlarm; the idle minutes are rounded up to whole monitoring periods."""
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
        "TreatMissingData": "notBreaching",  # a stopped host is not idle
        "WarmUpConfiguration": {
            "WarmUpPeriodDurationInMinutes": min(total, MAX_WARM_UP),
            "OnlyStartEvaluatingAfterWarmUpPeriodEnds": True,
        },
    }


def split_time(minutes: int) -> tuple[int, int]:
    """Split idle minutes into a period (seconds) and a number of periods that CloudWatch accepts."""
    seconds = minutes * 60
    if not 0 < seconds <= MAX_HOURS * 3600:
        raise ValueError(f"an alarm can wait for 1 minute to {MAX_HOURS} hours, not for {minutes} minutes")
    period = SHORT_PERIOD if seconds <= SHORT_LIMIT else LONG_PERIOD
    return period, -(-seconds // period)


def describe_owner(cluster: str, creator: str) -> str:
    """Describe the cluster that an alarm belongs to; alarms of hosts that no longer exist are found by it."""
    return f"flambe cluster {cluster} of {creator}"


def reset(cloudwatch: CloudWatchClient, alarms: Mapping[str, Mapping[str, Any] | None], *, new: bool = False) -> None:
    """Replace the alarm of each instance; its idle time starts now. ``new`` instances have no alarm to remove."""
    if not new:
        remove(cloudwatch, list(alarms))
    wanted = [alarm for alarm in alarms.values() if alarm]
    if wanted:
        with ThreadPoolExecutor(THREADS) as pool:
            list(pool.map(lambda alarm: api.put_metric_alarm(cloudwatch, alarm), wanted))


def remove(cloudwatch: CloudWatchClient, instance_ids: Sequence[str]) -> None:
    """Remove the existing alarms of instances."""
    api.delete_alarms(cloudwatch, find(cloudwatch, instance_ids))


def find(cloudwatch: CloudWatchClient, instance_ids: Sequence[str]) -> list[str]:
    """Return the names of the existing alarms of these instances."""
    names = [alarm_name(instance_id) for instance_id in instance_ids]
    return [alarm["AlarmName"] for alarm in api.describe_alarms(cloudwatch, names)]


def find_owned(cloudwatch: CloudWatchClient, owner: str) -> list[str]:
    """Return the names of all alarms of a cluster, including those of hosts that no longer exist."""
    found = api.find_alarms(cloudwatch, PREFIX)
    return [alarm["AlarmName"] for alarm in found if alarm.get("AlarmDescription", "").startswith(f"{owner}: ")]
