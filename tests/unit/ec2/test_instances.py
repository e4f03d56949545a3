from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import boto3
import pytest
from botocore.stub import Stubber

from flambe_ansible.ec2 import instances, tags
from flambe_ansible.errors import AWSError, ClusterError
from flambe_ansible.hosts import HostState, Role

CLUSTER = tags.ClusterTags(name="trial", creator="ada")
FILTERS = [
    {"Name": "tag:Purpose", "Values": ["flambe"]},
    {"Name": "tag:Cluster-Name", "Values": ["trial"]},
    {"Name": "tag:creator", "Values": ["ada"]},
    {"Name": "tag:Role", "Values": ["Orchestrator", "Factory"]},
    {"Name": "instance-state-name", "Values": ["pending", "running", "stopping", "stopped"]},
]


def _describe(number: int, role: Role = Role.FACTORY, state: str = "running", **changes: Any) -> dict[str, Any]:
    name = changes.pop("name", f"trial_factory_{number}")
    pairs = {**CLUSTER.build(role, name), **changes.pop("tags", {})}
    return {
        "InstanceId": f"i-{number}",
        "State": {"Name": state},
        "LaunchTime": datetime(2026, 11, 1, number, tzinfo=UTC),
        "PrivateIpAddress": f"10.0.0.{number}",
        "Tags": [{"Key": key, "Value": value} for key, value in pairs.items()],
        **changes,
    }


def _answer(*found: dict[str, Any], token: str | None = None) -> dict[str, Any]:
    more = {"NextToken": token} if token else {}
    return {"Reservations": [{"Instances": [one]} for one in found], **more}


@pytest.fixture
def stub() -> Stubber:
    return Stubber(boto3.client("ec2", region_name="eu-west-1"))


@pytest.mark.parametrize(
    ("types", "slow"),
    [
        (["t3.large"], False),
        (["t3.large", "p4d.24xlarge"], True),
        (["p5.48xlarge"], True),
        (["m5.metal"], True),
        (["c7i.metal-24xl"], True),
        (["g4dn.xlarge", "p3.2xlarge"], False),
        ([], False),
    ],
)
def test_large_machines_may_need_longer_to_start(types: list[str], slow: bool) -> None:
    wait = instances.wait_seconds(types)
    assert wait == (instances.SLOW_WAIT_SECONDS if slow else instances.WAIT_SECONDS)


def test_find_follows_pages_and_sorts_by_age(stub: Stubber) -> None:
    stub.add_response("describe_instances", _answer(_describe(2), _describe(1), token="more"), {"Filters": FILTERS})
    stub.add_response("describe_instances", _answer(_describe(0)), {"Filters": FILTERS, "NextToken": "more"})
    with stub:
        found = instances.find(stub.client, CLUSTER)
    assert [one.id for one in found] == ["i-0", "i-1", "i-2"]
    stub.assert_no_pending_responses()


def test_find_ignores_instances_of_other_clusters(stub: Stubber) -> None:
    other = _describe(1, tags={"creator": "adam"})
    stub.add_response("describe_instances", _answer(_describe(0), other), {"Filters": FILTERS})
    with stub:
        assert [one.id for one in instances.find(stub.client, CLUSTER)] == ["i-0"]


def test_read() -> None:
    description = _describe(
        3,
        state="terminated",
        InstanceType="t3.large",
        ImageId="ami-1",
        KeyName="work",
        PublicIpAddress="203.0.113.5",
        AmiLaunchIndex=2,
        ClientToken="token",
        BlockDeviceMappings=[{"DeviceName": "/dev/sda1", "Ebs": {"VolumeId": "vol-1"}}, {"DeviceName": "/dev/sdb"}],
        StateReason={"Code": "Server.InternalError", "Message": "Server.InternalError: no"},
        StateTransitionReason="",
    )
    one = instances.read(description)  # type: ignore[arg-type]
    assert (one.state, one.role, one.type, one.image) == (HostState.TERMINATED, Role.FACTORY, "t3.large", "ami-1")
    assert (one.key_name, one.public_ip, one.private_ip) == ("work", "203.0.113.5", "10.0.0.3")
    assert (one.order, one.token, one.volumes, one.reason) == (2, "token", ("vol-1",), "Server.InternalError: no")


def test_arrange_reports_both_orchestrators() -> None:
    heads = [instances.read(_describe(number, Role.ORCHESTRATOR)) for number in (4, 7)]  # type: ignore[arg-type]
    with pytest.raises(ClusterError, match=r"2 orchestrators .*: i-4 and i-7"):
        instances.arrange("trial", heads)


def test_arrange_numbers_every_factory() -> None:
    described = [_describe(1), _describe(5, name="trial_factory"), _describe(6, name="trial_factory_1")]
    existing = instances.arrange("trial", [instances.read(one) for one in described])  # type: ignore[arg-type]
    assert {index: one.id for index, one in existing.factories.items()} == {0: "i-5", 1: "i-1", 2: "i-6"}
    assert [name for name, _ in existing.named("trial")] == [f"trial_factory_{index}" for index in range(3)]


@pytest.mark.parametrize(
    ("public", "use_public", "address"),
    [("203.0.113.5", True, "203.0.113.5"), ("203.0.113.5", False, "10.0.0.1"), (None, True, "10.0.0.1")],
)
def test_to_host_selects_the_address(public: str | None, use_public: bool, address: str) -> None:
    instance = instances.EC2Instance(
        id="i-1", state=HostState.RUNNING, role=Role.FACTORY, private_ip="10.0.0.1", public_ip=public
    )
    host = instances.to_host(instance, name="trial_factory_4", index=4, use_public=use_public)
    assert (host.address, host.private_ip, host.public_ip) == (address, "10.0.0.1", public)
    assert (host.name, host.index, host.instance_id, host.key_alias) == ("trial_factory_4", 4, "i-1", "i-1")


def _expect(stub: Stubber, ids: list[str], *found: dict[str, Any]) -> None:
    stub.add_response("describe_instances", _answer(*found), {"Filters": [{"Name": "instance-id", "Values": ids}]})


def test_wait_for_describes_all_remaining_instances_at_once(stub: Stubber) -> None:
    _expect(stub, ["i-1", "i-2"], _describe(1, state="pending"))  # i-2 is not visible yet
    _expect(stub, ["i-1", "i-2"], _describe(1), _describe(2, state="pending"))
    _expect(stub, ["i-2"], _describe(2))
    arrived: list[str] = []
    with stub:
        found = instances.wait_for(
            stub.client, ["i-1", "i-2"], HostState.RUNNING, on_arrival=lambda one: arrived.append(one.id)
        )
    assert sorted(found) == arrived == ["i-1", "i-2"]
    stub.assert_no_pending_responses()


@pytest.mark.parametrize("state", ["terminated", "shutting-down"])
def test_wait_for_reports_why_an_instance_ended(stub: Stubber, state: str) -> None:
    reason = {"Code": "Client.VolumeLimitExceeded", "Message": "Client.VolumeLimitExceeded: Volume limit exceeded"}
    _expect(stub, ["i-1"], _describe(1, state=state, StateReason=reason))
    with stub, pytest.raises(AWSError, match=r"i-1 .* ended .*: Client\.VolumeLimitExceeded: Volume limit"):
        instances.wait_for(stub.client, ["i-1"], HostState.RUNNING)


def test_wait_for_retries_before_an_unknown_instance_is_an_error(
    stub: Stubber, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(instances, "VISIBLE_SECONDS", 0.05)
    monkeypatch.setattr(instances, "POLL_SECONDS", 0.02)
    for _ in range(10):
        _expect(stub, ["i-1"])
    with stub, pytest.raises(AWSError, match="EC2 no longer shows i-1"):
        instances.wait_for(stub.client, ["i-1"], HostState.RUNNING)


def test_wait_for_times_out(stub: Stubber) -> None:
    for _ in range(2):
        _expect(stub, ["i-1"], _describe(1, state="pending"))
    with stub, pytest.raises(AWSError, match="not running after 0 s: i-1 is pending") as caught:
        instances.wait_for(stub.client, ["i-1"], HostState.RUNNING, timeout=0)
    assert "launch" in (caught.value.hint or "")


def test_terminate_waits_until_instances_are_terminated_or_unknown(stub: Stubber) -> None:
    ids = ["i-1", "i-2"]
    stub.add_response("terminate_instances", {}, {"InstanceIds": ids})
    _expect(stub, ids, _describe(1, state="shutting-down"), _describe(2, state="shutting-down"))
    _expect(stub, ids, _describe(1, state="terminated"))  # i-2 is no longer visible
    with stub:
        instances.terminate(stub.client, ids)
    stub.assert_no_pending_responses()


def test_terminate_retries_if_a_new_instance_is_not_visible_yet(stub: Stubber) -> None:
    stub.add_client_error("terminate_instances", "InvalidInstanceID.NotFound", http_status_code=400)
    stub.add_response("terminate_instances", {}, {"InstanceIds": ["i-1"]})
    _expect(stub, ["i-1"], _describe(1, state="terminated"))
    with stub:
        instances.terminate(stub.client, ["i-1"])
    stub.assert_no_pending_responses()


def test_terminate_reports_that_an_instance_is_protected(stub: Stubber) -> None:
    stub.add_client_error("terminate_instances", "OperationNotPermitted", http_status_code=400)
    with stub, pytest.raises(AWSError) as caught:
        instances.terminate(stub.client, ["i-1"])
    assert "protection" in (caught.value.hint or "")
