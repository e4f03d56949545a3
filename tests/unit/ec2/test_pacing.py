from __future__ import annotations

import boto3
import pytest
from botocore.stub import Stubber

from flambe_ansible.ec2 import api, pacing


@pytest.fixture
def no_pauses() -> None:
    """Keep the pauses that these tests are about."""


def test_no_second_has_more_calls_than_the_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0

    def sleep(seconds: float) -> None:
        nonlocal now
        now += seconds

    monkeypatch.setattr(pacing.time, "monotonic", lambda: now)
    monkeypatch.setattr(pacing.time, "sleep", sleep)
    pace, calls = pacing.Pace(3), []
    for _ in range(8):
        pace.wait()
        calls.append(now)
        now += 0.1
    assert calls == pytest.approx([100.0, 100.1, 100.2, 101.0, 101.1, 101.2, 102.0, 102.1])
    now += 5
    pace.wait()
    assert now == pytest.approx(107.2)


@pytest.mark.parametrize("operation", ["create_tags", "start_instances", "terminate_instances"])
def test_a_call_has_at_most_1000_ids(operation: str) -> None:
    """https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_CreateTags.html."""
    ec2 = boto3.client("ec2", region_name="eu-west-1")
    ids = [f"i-{number}" for number in range(1001)]
    tags = {"Tags": [{"Key": "a", "Value": "b"}]} if operation == "create_tags" else {}
    with Stubber(ec2) as stub:
        for chunk in (ids[:1000], ids[1000:]):
            stub.add_response(operation, {}, {"Resources" if tags else "InstanceIds": chunk, **tags})
        getattr(api, operation)(ec2, ids, *([{"a": "b"}] if tags else []))
        stub.assert_no_pending_responses()
