"""CloudWatch in the lab: measures the hosts' CPU use and runs the actions of alarms.

It supports what a cluster's timeouts need: alarms on ``CPUUtilization`` of ``AWS/EC2`` with a static threshold, whose
actions terminate, stop or reboot the instance, with a warm-up and each treatment of missing data.
"""

from __future__ import annotations

import logging
import operator
import time
from collections import defaultdict, deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from flambe_ansible.lab import host
from flambe_ansible.lab.answers import RefusedError
from flambe_ansible.lab.calls import is_true
from flambe_ansible.lab.fleet import Fleet

EVERY = 10.0  # seconds between two measurements

_COMPARISONS: Mapping[str, Callable[[float, float], bool]] = {
    "LessThanThreshold": operator.lt,
    "LessThanOrEqualToThreshold": operator.le,
    "GreaterThanThreshold": operator.gt,
    "GreaterThanOrEqualToThreshold": operator.ge,
}
_KEPT = int(7 * 24 * 3600 / EVERY)
_PUBLISHED = 1000  # measurements that GetMetricStatistics can find
_log = logging.getLogger(__name__)

Sample = tuple[float, float]


class Meter:
    """Measures the hosts and acts on alarms."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self._next = time.monotonic()
        self._before: dict[str, Sample] = {}
        self._samples: dict[str, deque[Sample]] = defaultdict(lambda: deque(maxlen=_KEPT))
        self._processors: dict[str, int] = {}  # of each instance type

    def tick(self) -> None:
        """Measure the hosts and evaluate the alarms, if the interval has passed."""
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + EVERY
        with self._fleet.lock:
            running = {i.id: i for i in self._fleet.cloud.instances() if i.state == "running"}
            for name in set(self._before) - set(running):
                del self._before[name]
                self._samples.pop(name, None)
            for instance in running.values():
                self._measure(instance, now)
            for alarm in list(self._fleet.cloud.cloudwatch.alarms.values()):
                self._evaluate(alarm, running, now)

    def _measure(self, instance: Any, now: float) -> None:
        """Measure one host's CPU use since the last measurement, in percent of the processors of its type."""
        name = instance.id
        used = host.cpu_seconds(self._fleet.settings, name)
        if used is None:
            return
        before = self._before.get(name)
        self._before[name] = (now, used)
        if before is not None and used >= before[1] and now > before[0]:
            processors = self._count_processors(instance.instance_type)
            percent = min(100 * (used - before[1]) / (now - before[0]) / processors, 100.0)
            self._samples[name].append((now, percent))
            dimension = {"Name": "InstanceId", "Value": name}
            datum = {"MetricName": "CPUUtilization", "Dimensions": [dimension], "Value": percent, "Unit": "Percent"}
            cloudwatch = self._fleet.cloud.cloudwatch
            cloudwatch.put_metric_data("AWS/EC2", [datum])
            del cloudwatch.metric_data[:-_PUBLISHED]

    def _count_processors(self, instance_type: str) -> int:
        """Return the number of processors of a type."""
        if instance_type not in self._processors:
            found = self._fleet.cloud.ec2.describe_instance_types(filters={"instance-type": [instance_type]})
            self._processors[instance_type] = found[0]["VCpuInfo"]["DefaultVCpus"] if found else 1
        return self._processors[instance_type]

    def _evaluate(self, alarm: Any, running: Mapping[str, Any], now: float) -> None:
        """Update an alarm's state, and run its actions if it is in ALARM."""
        if alarm.namespace != "AWS/EC2" or alarm.metric_name != "CPUUtilization":
            return
        name = next((d.value for d in alarm.dimensions if d.name == "InstanceId"), "")
        compare = _COMPARISONS.get(alarm.comparison_operator)
        warms_up = time.time() < getattr(alarm, "warm_until", 0.0)
        if name not in running or compare is None or (warms_up and alarm.waits_for_warm_up):
            return
        samples = self._samples[name]
        averages = average_periods(samples, now, int(alarm.period), int(alarm.evaluation_periods))
        if samples and samples[0][0] > now - int(alarm.period) * int(alarm.evaluation_periods) + EVERY:
            averages[0] = None  # the first period began before the host was measured
        state = derive_state(
            averages,
            lambda value: compare(value, float(alarm.threshold)),
            needed=int(alarm.datapoints_to_alarm or len(averages)),
            missing=alarm.treat_missing_data or "missing",
            before=alarm.state_value,
        )
        if state != alarm.state_value:
            alarm.update_state(f"Threshold: {alarm.threshold}, CPU in percent: {averages[-1:]}", "{}", state)
        if state == "ALARM" and alarm.actions_enabled and not warms_up:
            for action in alarm.alarm_actions or ():
                self._act(action, running[name], alarm.name)

    def _act(self, action: str, instance: Any, alarm: str) -> None:
        """Run an action of an alarm."""
        if instance.state != "running":
            return
        verb = action.rpartition(":")[2]
        if verb == "terminate":
            _log.info("alarm %s terminates %s", alarm, instance.id)
            instance.teardown_defaults()
            self._fleet.terminate(instance)
        elif verb == "stop":
            self._fleet.stop(instance)
        elif verb == "reboot":
            self._fleet.reboot(instance)
        self._fleet.save()


def average_periods(samples: Sequence[Sample], now: float, period: int, count: int) -> list[float | None]:
    """Average the samples (time in s, percent) in each of the last periods, the oldest first; None if one has none."""
    sums = [[0.0, 0.0] for _ in range(count)]
    for moment, percent in samples:
        index = count - 1 - int((now - moment) // period)
        if 0 <= index < count:
            sums[index][0] += percent
            sums[index][1] += 1
    return [total / number if number else None for total, number in sums]


def derive_state(
    averages: Sequence[float | None],
    breaches: Callable[[float], bool],
    *,
    needed: int,
    missing: str = "missing",
    before: str = "INSUFFICIENT_DATA",
) -> str:
    """Return an alarm's state: ALARM if ``needed`` periods breach.

    ``missing`` is how periods without data count, in CloudWatch's words; with ``missing`` itself, the other periods
    decide, and with ``ignore`` the state remains as it was ``before``.
    https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/alarms-and-missing-data.html
    """
    known = [breaches(value) for value in averages if value is not None]
    gaps = len(averages) - len(known)
    if missing in ("breaching", "notBreaching"):
        known += [missing == "breaching"] * gaps
    elif gaps and sum(known) < needed and known.count(False) <= len(averages) - needed:
        if missing == "ignore":
            return before
        return "ALARM" if known and all(known) else "INSUFFICIENT_DATA"
    return "ALARM" if sum(known) >= needed else "OK"


def check_alarm(parameters: Mapping[str, Any]) -> None:
    """Refuse alarms whose period is invalid, or that look back over a day (a week for periods of an hour).

    https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_PutMetricAlarm.html
    """
    period, evaluations = int(parameters.get("Period") or 60), int(parameters.get("EvaluationPeriods") or 1)
    if period not in (10, 20, 30) and (period < 60 or period % 60):
        raise RefusedError("ValidationError", f"Invalid period {period}: it must be 10, 20, 30 or a multiple of 60")
    limit = 604_800 if period >= 3600 else 86_400
    if period * evaluations > limit:
        reason = f"EvaluationPeriods * Period must be <= {limit}"
        raise RefusedError("ValidationError", f"Metrics cannot be checked across more than {limit} seconds ({reason})")


def set_warm_up(alarm: Any, before: Any | None, parameters: Mapping[str, Any]) -> None:
    """Record the warm-up of an alarm, which moto drops; that of an existing alarm does not start again."""
    warm_up = parameters.get("WarmUpConfiguration") or {}
    minutes = float(warm_up.get("WarmUpPeriodDurationInMinutes") or 0)
    alarm.warm_until = getattr(before, "warm_until", time.time() + 60 * minutes)
    alarm.waits_for_warm_up = is_true(warm_up, "OnlyStartEvaluatingAfterWarmUpPeriodEnds")
