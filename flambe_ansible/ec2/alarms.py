"""CloudWatch alarms that terminate hosts whose own idle shutdown is dead.

An idle host powers itself off (role ``idle_shutdown``). An alarm waits for an hour longer; it terminates its host if
the average CPU use of the whole machine stays below the threshold in every period. Low CPU use alone does not show that
a host is idle: while a host is busy, each check of its idle shutdown uses enough CPU to stay above the threshold.

A new alarm evaluates past metrics: on a host that was idle for hours it would fire at once. CloudWatch's warm-up period
prevents this: the alarm does not act until the idle time has passed (at most 48 hours; the window then includes the
launch's own work on the host). The warm-up of an existing alarm cannot be restarted. Therefore a launch sets a new
alarm under another name, and then deletes the previous one: a host that has an alarm is never without one. An alarm
that was set less than an hour before is kept: it waits an hour longer than its host, so it cannot act before the idle
time, which starts again with the launch, has passed. CloudWatch accepts three changes a second:
https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/cloudwatch_limits.html

Limits, from https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_PutMetricAlarm.html: a name has at
most 255 characters; the period times the evaluation periods is at most 86,400 s for periods below an hour, and at most
seven days for longer ones. Without detailed monitoring, EC2 reports every five minutes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime
from itertools import count
from typing import TYPE_CHECKING, Any

from flambe_ansible.ec2 import api, instances
from flambe_ansible.ec2.errors import is_denied
from flambe_ansible.errors import AWSError
from flambe_ansible.hosts import LIVE_STATES

if TYPE_CHECKING:
    from mypy_boto3_cloudwatch.client import CloudWatchClient
    from mypy_boto3_cloudwatch.type_defs import MetricAlarmTypeDef
    from mypy_boto3_ec2.client import EC2Client

PREFIX = "Flambe_Instance_Terminate_CPU_Utilization_"
NEVER = -1  # hours
NO_INSTANCE = "i-00000000000000000"  # for an alarm that is only tried
ROLE = "AWSServiceRoleForCloudWatchEvents"  # with it, CloudWatch terminates instances; it exists once in an account
MAX_HOURS = 168
CPU_THRESHOLD = 0.1  # percent
CPUS = 300  # the threshold is below that of the idle shutdown on hosts with up to so many CPUs

SHORT_PERIOD = 300  # seconds between two points of basic monitoring
LONG_PERIOD = 3600
SHORT_LIMIT = 86_400
MAX_WARM_UP = 2880  # minutes
_NOT_COMPARED = ("AlarmName", "WarmUpConfiguration")  # names alternate; the warm-up follows from the periods
KEPT_SECONDS = 3300  # the age up to which an alarm is kept: the hour that it waits longer, less one period


def alarm_name(instance_id: str, number: int = 1) -> str:
    """Name an alarm of an instance; the first one as flambé does, the others with a number."""
    return PREFIX + instance_id + (f"_{number}" if number > 1 else "")


def read_instance_id(name: str) -> str:
    """Read the id of the instance from the name of its alarm."""
    return name.removeprefix(PREFIX).partition("_")[0]


def minutes_of(hours: int) -> int:
    """Return the minutes of the alarm of hosts that power themselves off after idle hours: an hour more."""
    return min(hours + 1, MAX_HOURS) * 60


def threshold(percent: float) -> float:
    """Return the threshold of alarms, in percent of all CPUs, for that of the idle shutdown, in percent of one CPU."""
    return percent / CPUS


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
    period, periods = split_time(minutes)
    total = period * periods // 60
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
        "EvaluationPeriods": periods,
        "DatapointsToAlarm": periods,
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


def renew(cloudwatch: CloudWatchClient, alarms: Mapping[str, Mapping[str, Any] | None]) -> None:
    """Replace the alarms that could act before the idle time, counted from now, has passed, or have other settings."""
    found = _find(cloudwatch, list(alarms))
    several = Counter(read_instance_id(alarm["AlarmName"]) for alarm in found)
    kept = {
        one
        for alarm in found
        if several[one := read_instance_id(alarm["AlarmName"])] == 1 and _can_stay(alarm, alarms[one])
    }
    _replace(cloudwatch, {one: alarm for one, alarm in alarms.items() if one not in kept}, found)


def reset(cloudwatch: CloudWatchClient, alarms: Mapping[str, Mapping[str, Any] | None]) -> None:
    """Replace the alarms of instances; their idle time starts now. None removes the alarms of an instance."""
    _replace(cloudwatch, alarms, _find(cloudwatch, list(alarms)))


def _replace(
    cloudwatch: CloudWatchClient,
    alarms: Mapping[str, Mapping[str, Any] | None],
    found: Sequence[MetricAlarmTypeDef],
) -> None:
    """Set new alarms, and delete the existing ones of the same instances.

    All new alarms are set before an existing one is deleted. An interrupted change can leave several alarms of one
    instance; the next one deletes them.
    """
    existing = [name for alarm in found if read_instance_id(name := alarm["AlarmName"]) in alarms]
    taken = set(existing)
    wanted = [{**alarm, "AlarmName": _free_name(one, taken)} for one, alarm in alarms.items() if alarm]
    for alarm in wanted:
        api.put_metric_alarm(cloudwatch, alarm)
    api.delete_alarms(cloudwatch, existing)


def remove(cloudwatch: CloudWatchClient, instance_ids: Sequence[str]) -> None:
    """Remove the existing alarms of instances."""
    api.delete_alarms(cloudwatch, find(cloudwatch, instance_ids))


def find(cloudwatch: CloudWatchClient, instance_ids: Sequence[str]) -> list[str]:
    """Return the names of the existing alarms of these instances."""
    return [alarm["AlarmName"] for alarm in _find(cloudwatch, instance_ids)]


def find_settings(cloudwatch: CloudWatchClient, instance_ids: Sequence[str]) -> dict[str, MetricAlarmTypeDef]:
    """Return the latest alarm of each of these instances, by the instance's id."""
    found = sorted(_find(cloudwatch, instance_ids), key=lambda alarm: alarm["AlarmConfigurationUpdatedTimestamp"])
    return {read_instance_id(alarm["AlarmName"]): alarm for alarm in found}


def rehearse(cloudwatch: CloudWatchClient, alarm: Mapping[str, Any]) -> None:
    """Set an alarm of no instance and delete it; ``AWSError`` if it cannot be set, or a permission is missing.

    An alarm that is not deleted for another reason is deleted by the launch that follows (``remove_strays``).

    The first alarm of an account that acts on instances creates the role ``AWSServiceRoleForCloudWatchEvents``, for
    which the user needs a permission of its own:
    https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_PutMetricAlarm.html
    """
    try:
        api.put_metric_alarm(cloudwatch, {**alarm, "ActionsEnabled": False})
    except AWSError as error:
        if not is_denied(error):  # the answer may have been lost
            _remove_sample(cloudwatch, alarm)
        raise
    _remove_sample(cloudwatch, alarm)


def _remove_sample(cloudwatch: CloudWatchClient, alarm: Mapping[str, Any]) -> None:
    try:
        api.delete_alarms(cloudwatch, [alarm["AlarmName"]])
    except AWSError as error:
        if is_denied(error):
            error.hint = f"{error.hint}; the alarm {alarm['AlarmName']}, which does nothing, was not deleted"
            raise


def find_owned(cloudwatch: CloudWatchClient, owner: str) -> list[str]:
    """Return the names of all alarms of a cluster, including those of hosts that no longer exist."""
    return [alarm["AlarmName"] for alarm in _list_owned(cloudwatch, owner)]


def remove_strays(cloudwatch: CloudWatchClient, ec2: EC2Client, owner: str, known: Collection[str]) -> None:
    """Remove the alarms of a cluster's instances that have ended; ``known`` are the ids of those that exist.

    The alarm of an instance that EC2 does not show is kept while it is too new for this to mean that it has ended.
    """
    unknown = {alarm["AlarmName"]: alarm for alarm in _list_owned(cloudwatch, owner)}
    existing = set(known)
    unknown = {name: alarm for name, alarm in unknown.items() if read_instance_id(name) not in existing}
    shown = instances.describe(ec2, sorted({read_instance_id(name) for name in unknown}))

    def has_ended(name: str) -> bool:
        instance = shown.get(read_instance_id(name))
        if read_instance_id(name) == NO_INSTANCE:
            return True
        if instance:
            return instance.state not in LIVE_STATES
        age = datetime.now(UTC) - unknown[name]["AlarmConfigurationUpdatedTimestamp"]
        return age.total_seconds() > instances.VISIBLE_SECONDS

    api.delete_alarms(cloudwatch, [name for name in unknown if has_ended(name)])


def _list_owned(cloudwatch: CloudWatchClient, owner: str) -> list[MetricAlarmTypeDef]:
    found = api.find_alarms(cloudwatch, PREFIX)
    return [alarm for alarm in found if alarm.get("AlarmDescription", "").startswith(f"{owner}: ")]


def _find(cloudwatch: CloudWatchClient, instance_ids: Sequence[str]) -> list[MetricAlarmTypeDef]:
    """Return the existing alarms of these instances."""
    if not instance_ids:
        return []
    found = api.find_alarms(cloudwatch, PREFIX if len(instance_ids) > 1 else alarm_name(instance_ids[0]))
    wanted = set(instance_ids)
    return [alarm for alarm in found if read_instance_id(alarm["AlarmName"]) in wanted]


def _can_stay(existing: MetricAlarmTypeDef, wanted: Mapping[str, Any] | None) -> bool:
    """Return whether an alarm has the wanted settings, and acts after the idle time, counted from now, at the earliest.

    The longest alarms do not wait longer than their hosts.
    """
    if wanted is None or wanted["Period"] * wanted["EvaluationPeriods"] >= MAX_HOURS * 3600:
        return False
    age = datetime.now(UTC) - existing["AlarmConfigurationUpdatedTimestamp"]
    same = all(existing.get(name) == value for name, value in wanted.items() if name not in _NOT_COMPARED)
    return same and 0 <= age.total_seconds() <= KEPT_SECONDS


def _free_name(instance_id: str, taken: Collection[str]) -> str:
    """Return the first name for an instance's alarm that is not taken."""
    return next(name for number in count(1) if (name := alarm_name(instance_id, number)) not in taken)
