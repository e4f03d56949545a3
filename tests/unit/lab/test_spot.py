"""Spot Instances in the lab, and clusters of them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from flambe_ansible.errors import AWSError, ClusterConfigurationError
from flambe_ansible.lab.fleet import set_state
from flambe_ansible.launch.plan import Action
from tests.unit.ec2.support import tags_of
from tests.unit.lab.served import ServedLab, serve

SPOT = {"SpotInstanceType": "one-time", "InstanceInterruptionBehavior": "terminate"}


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedLab]:
    with serve(tmp_path_factory.mktemp("lab"), quotas=(("L-34B43A08", 8), ("L-1216C47A", 1000))) as served:
        served.gate._throttle.check = lambda _operation: None  # type: ignore[method-assign]
        yield served


@pytest.fixture
def lab(shared: ServedLab, no_pauses: None) -> Iterator[ServedLab]:
    yield shared
    for instance in list(shared.cloud.instances()):
        if instance.state != "terminated":
            shared.fleet.terminate(instance)
        shared.cloud.forget(instance)


def launch(lab: ServedLab, **changes: Any) -> Any:
    cluster = lab.cluster(factories_spot=True, **changes)
    cluster.hosts = cluster.aws.create(observer=lambda _event: None, created=[])
    return cluster


def interrupt(lab: ServedLab, instance_id: str) -> None:
    """Terminate an instance as AWS does: https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_StateReason.html."""
    instance = next(one for one in lab.cloud.instances() if one.id == instance_id)
    instance.state_reason.code = "Server.SpotInstanceTermination"
    instance.state_reason.message = "Server.SpotInstanceTermination: Spot instance termination"
    set_state(instance, "terminated")
    lab.cloud.release_address(instance)


def describe(lab: ServedLab) -> dict[str, dict[str, Any]]:
    groups = lab.client().describe_instances()["Reservations"]
    return {tags_of(one)["Name"]: one for group in groups for one in group["Instances"]}


def test_factories_are_one_time_spot_instances_and_the_orchestrator_is_not(lab: ServedLab) -> None:
    cluster = launch(lab, factories_timeout=-1)
    found = describe(lab)
    assert "InstanceLifecycle" not in found["trial_orchestrator"]
    for name in ("trial_factory_0", "trial_factory_1"):
        assert found[name]["InstanceLifecycle"] == "spot"
        assert found[name]["SpotInstanceRequestId"].startswith("sir-")
    assert [host.spot for host in cluster.aws.find()] == [False, True, True]
    before = len(lab.calls())
    launch(lab, factories_timeout=-1)
    assert ("ec2", "RunInstances") not in lab.calls()[before:]


def test_the_request_and_its_tags(lab: ServedLab) -> None:
    from flambe_ansible.ec2 import launching
    from flambe_ansible.hosts import Role

    cluster = lab.cluster(factories_spot={"max_price": 0.5}, factories_timeout=-1)
    choice = cluster.aws._prepare(cluster.aws.find_existing(), {Role.FACTORY: [0]}).checked.choices[Role.FACTORY][0]
    request = launching.build_request(cluster._settings, choice.image, cluster=cluster._tags, role=Role.FACTORY)
    assert request["InstanceMarketOptions"] == {"MarketType": "spot", "SpotOptions": {**SPOT, "MaxPrice": "0.5"}}
    assert [one["ResourceType"] for one in request["TagSpecifications"]] == [
        "instance",
        "volume",
        "spot-instances-request",
    ]
    assert request["InstanceInitiatedShutdownBehavior"] == "terminate"


def test_a_price_below_that_of_the_market_is_refused_and_nothing_is_created(lab: ServedLab) -> None:
    cluster = lab.cluster(factories_spot={"max_price": 0.002})
    with pytest.raises(AWSError, match="SpotMaxPriceTooLow") as caught:
        cluster.aws.create(observer=lambda _event: None, created=[])
    assert "raise max_price" in (caught.value.hint or "")
    assert describe(lab) == {}


def test_the_quota_of_spot_instances_is_compared_and_enforced(lab: ServedLab) -> None:
    with pytest.raises(
        ClusterConfigurationError, match=r"L-34B43A08 \(All Standard .* Spot Instance Requests\) is 8 vCPUs"
    ):
        lab.cluster(factories_spot=True, factories_num=5).aws.plan()
    cluster = lab.cluster(factories_spot=True, factories_num=5, min_factories=4)
    notices: list[str] = []
    cluster.hosts = cluster.aws.create(observer=lambda event: notices.append(getattr(event, "message", "")), created=[])
    assert len(cluster.factories) == 4
    assert any("room for 4 of 5 hosts" in one for one in notices)
    more = lab.cluster(factories_spot=True, factories_num=6, min_factories=5)
    with pytest.raises(AWSError, match="MaxSpotInstanceCountExceeded"):
        more.aws.create(observer=lambda _event: None, created=[])


def test_an_interrupted_factory_is_named_and_created_anew(lab: ServedLab) -> None:
    cluster = launch(lab)
    lost = cluster.hosts[2]
    interrupt(lab, lost.instance_id)
    assert [one.name for one in cluster.aws.find_interrupted()] == ["trial_factory_1"]
    plan = lab.cluster(factories_spot=True).aws.plan()
    assert f"trial_factory_1 ({lost.instance_id}, t3.large) was interrupted by AWS; it is created anew" in plan.notes
    assert [one.action for one in plan.hosts] == [Action.REUSE, Action.REUSE, Action.CREATE]
    again = launch(lab)
    assert [host.name for host in again.hosts][1:] == ["trial_factory_0", "trial_factory_1"]
    assert again.aws.find_interrupted() == []


def test_a_user_termination_is_no_interruption(lab: ServedLab) -> None:
    cluster = launch(lab)
    lab.client().terminate_instances(InstanceIds=[cluster.hosts[1].instance_id])
    assert cluster.aws.find_interrupted() == []


def test_spot_instances_cannot_be_stopped(lab: ServedLab) -> None:
    cluster = launch(lab)
    with pytest.raises(lab.client().exceptions.ClientError, match="one-time Spot Instance request"):
        lab.client().stop_instances(InstanceIds=[cluster.hosts[1].instance_id])
    with pytest.raises(
        ClusterConfigurationError, match="trial_factory_0, trial_factory_1: Spot Instances, which AWS cannot"
    ):
        cluster.check_suspension()
    assert {one["State"]["Name"] for one in describe(lab).values()} == {"running"}


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({**SPOT, "SpotInstanceType": "persistent"}, "UnsupportedOperation"),
        ({**SPOT, "InstanceInterruptionBehavior": "stop"}, "InvalidParameterCombination"),
        ({**SPOT, "MaxPrice": "0.0001"}, "InvalidParameterValue"),
        ({**SPOT, "MaxPrice": "cheap"}, "InvalidParameterValue"),
    ],
)
def test_other_requests_are_refused(lab: ServedLab, options: dict[str, str], code: str) -> None:
    request = {"ImageId": lab.cloud.image_id, "InstanceType": "t3.small", "MinCount": 1, "MaxCount": 1}
    market = {"MarketType": "spot", "SpotOptions": options}
    with pytest.raises(lab.client().exceptions.ClientError, match=code):
        lab.client().run_instances(**request, SubnetId=lab.cloud.subnet_id, InstanceMarketOptions=market)
