"""The request rates of CloudWatch and of the Pricing API.

https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/cloudwatch_limits.html
AWS documents no rate of GetProducts; this one is an assumption.
"""

from __future__ import annotations

import time

from flambe_ansible.lab.answers import RefusedError

RATES = {
    "DeleteAlarms": 3,
    "DescribeAlarms": 9,
    "GetProducts": 10,
    "PutMetricAlarm": 3,
    "SetAlarmState": 3,
}  # calls per second


class Throttle:
    """A bucket of tokens for each operation; it is full after a second without a call."""

    def __init__(self) -> None:
        self._left: dict[str, tuple[float, float]] = {}  # the tokens, and when they were counted

    def check(self, operation: str) -> None:
        """Count a call of an operation; refuse it if there were too many."""
        rate = RATES.get(operation)
        if rate is None:
            return
        now = time.monotonic()
        left, counted = self._left.get(operation, (float(rate), now))
        left = min(rate, left + (now - counted) * rate)
        self._left[operation] = (left - 1 if left >= 1 else left, now)
        if left < 1:
            code = "ThrottlingException" if operation == "GetProducts" else "Throttling"
            raise RefusedError(code, "Rate exceeded")
