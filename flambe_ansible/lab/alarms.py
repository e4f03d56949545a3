"""CloudWatch in the lab: measures the hosts' CPU use and runs the actions of alarms.

It supports what a cluster's timeouts need: alarms on ``CPUUtilization`` of ``AWS/EC2`` with a static threshold, whose
actions terminate, stop or reboot the instance.
"""

from __future__ import annotations

import logging
import operator
import os
import time
from collections import defaultdict, deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from flambe_ansible.lab import host
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
            for name in running:
                self._measure(name, now)
            for alarm in list(self._fleet.cloud.cloudwatch.alarms.values()):
                self._evaluate(alarm, running, now)

    def _measure(self, name: str, now: float) -> None:
        """Measure one host's CPU use since the last measurement, in percent of this machine's processors."""
        used = host.cpu_seconds(self._fleet.settings, name)
        if used is None:
            return
        before = self._before.get(name)
        self._before[name] = (now, used)
        if before is not None and used >= before[1] and now > before[0]:
            percent = min(100 * (used - before[1]) / (now - before[0]) / (os.cpu_count() or 1), 100.0)
            self._samples[name].append((now, percent))
            dimension = {"Name": "InstanceId", "Value": name}
            datum = {"MetricName": "CPUUtilization", "Dimensions": [dimension], "Value": percent, "Unit": "Percent"}
            cloudwatch = self._fleet.cloud.cloudwatch
            cloudwatch.put_metric_data("AWS/EC2", [datum])
            del cloudwatch.metric_data[:-_PUBLISHED]

    def _evaluate(self, alarm: Any, running: Mapping[str, Any], now: float) -> None:
        """Update an alarm's state, and run its actions if it is in ALARM."""
        if alarm.namespace != "AWS/EC2" or alarm.metric_name != "CPUUtilization":
            return
        name = next((d.value for d in alarm.dimensions if d.name == "InstanceId"), "")
        compare = _COMPARISONS.get(alarm.comparison_operator)
        if name not in running or compare is None:
            return
        samples = self._samples[name]
        averages = average_periods(samples, now, int(alarm.period), int(alarm.evaluation_periods))
        if samples and samples[0][0] > now - int(alarm.period) * int(alarm.evaluation_periods) + EVERY:
            averages[0] = None  # the first period began before the host was measured
        state = derive_state(averages, lambda value: compare(value, float(alarm.threshold)))
        if state != alarm.state_value:
            alarm.update_state(f"Threshold: {alarm.threshold}, CPU in percent: {averages[-1:]}", "{}", state)
        if state == "ALARM" and alarm.actions_enabled:
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


def derive_state(averages: Sequence[float | None], breaches: Callable[[float], bool]) -> str:
    """Return an alarm's state: ALARM if all its periods are known and breach."""
    known = [value for value in averages if value is not None]
    if not all(map(breaches, known)):
        return "OK"
    return "ALARM" if known and len(known) == len(averages) else "INSUFFICIENT_DATA"
