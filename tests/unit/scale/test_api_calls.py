"""The number of API calls of a launch: only those that AWS offers for one host alone grow with the hosts."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from flambe_ansible.ec2 import alarms

FILTER_VALUES = 200  # ids in one call of DescribeInstances and DescribeVolumes
BATCH = 100  # new hosts in one request
ALARMS = 100  # in one call of DeleteAlarms and DescribeAlarms


def count_calls(cluster: Any) -> Counter[str]:
    """Launch up to the first connection, and count the calls by operation."""
    cluster.calls.clear()
    cluster.load_all_instances()
    return Counter(name for name, _ in cluster.calls.made)


@pytest.mark.parametrize("hosts", [4, 64, 256])
def test_api_calls_of_a_launch(make_cluster: Any, hosts: int, monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = make_cluster(factories_num=hosts - 1, factories_timeout=1)
    first = count_calls(cluster)
    assert first.pop("RunInstances") <= 3 + -(-hosts // BATCH)  # of the factories, the orchestrator, and the dry runs
    assert first.pop("PutMetricAlarm") == hosts  # one per factory, and one that is only tried
    assert first.pop("CreateTags") <= hosts  # a name per factory, with its volume
    pages = -(-hosts // FILTER_VALUES) + -(-2 * hosts // ALARMS)
    assert first.total() <= 40 + 4 * pages, first

    second = count_calls(cluster)
    assert "RunInstances" not in second
    assert "CreateTags" not in second
    assert "PutMetricAlarm" not in second
    assert second.total() <= 12 + 4 * pages, second

    monkeypatch.setattr(alarms, "KEPT_SECONDS", -1)
    later = count_calls(cluster)  # an hour later: CloudWatch sets one alarm per call
    assert later.pop("PutMetricAlarm") == hosts - 1
    assert later.total() <= 12 + 4 * pages, later
