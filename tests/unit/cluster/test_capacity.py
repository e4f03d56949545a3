"""Clusters on EC2 if AWS has no room for all hosts in the first type and subnet."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from flambe_ansible import journal
from flambe_ansible.ec2 import creating
from flambe_ansible.errors import AWSError, ClusterConfigurationError
from flambe_ansible.events import Notice, Status, StepEvent
from tests.unit.ec2.support import Account, client_error, tags_of

TYPES = ["m5.large", "m4.large"]
CAPACITY = "InsufficientInstanceCapacity"


@pytest.fixture
def subnets(account: Account) -> list[str]:
    """Return the default subnets, the one of the account's arguments first."""
    found = sorted(account.ec2.describe_subnets()["Subnets"], key=lambda one: one["AvailabilityZone"])
    own = account.arguments["subnet_id"]
    return sorted((one["SubnetId"] for one in found), key=lambda one: one != own)


def limit(cluster: Any, room: Mapping[tuple[str, str] | str, int | str]) -> list[int]:
    """Let AWS have room for so many instances of a type (or type and subnet), or refuse them with a code.

    Returns:
        The list to which the number of live instances at each request is added.
    """
    left, seen, asked = dict(room), list[int](), cluster.aws.find_existing

    def answer(params: dict[str, Any], **_: Any) -> dict[str, Any] | None:
        if params.get("DryRun"):
            return None
        seen.append(len(asked().all) + params["MaxCount"])
        kind, subnet = params["InstanceType"], params.get("SubnetId", "")
        key = (kind, subnet) if (kind, subnet) in left else kind
        room = left.get(key, 1000)
        if isinstance(room, str):
            raise client_error(
                room, message="We have no room", status=500 if room in (CAPACITY, "InternalError") else 400
            )
        if room < params["MinCount"]:
            raise client_error(CAPACITY, message="We have no room", status=500)
        left[key] = room - min(room, params["MaxCount"])
        count = min(room, params["MaxCount"])
        return {**params, "MinCount": count, "MaxCount": count}  # moto creates MinCount instances

    cluster.clients.ec2.meta.events.register_last("provide-client-params.ec2.RunInstances", answer)
    return seen


def watch(cluster: Any) -> list[str]:
    notices: list[str] = []
    cluster.observer = lambda event: notices.append(event.message) if isinstance(event, Notice) else None
    return notices


def requests(cluster: Any) -> list[tuple[str, str, int, int]]:
    """Return type, subnet and counts of all requests for factories."""
    made = cluster.calls.of_kind("RunInstances")
    return [
        (one["InstanceType"], one["SubnetId"], one["MinCount"], one["MaxCount"])
        for one in made
        if tags_of(one["TagSpecifications"][0])["Role"] == "Factory"
    ]


@pytest.fixture
def flexible(make_cluster: Any, subnets: list[str]) -> Iterator[Any]:
    """Make clusters with two types in two subnets."""
    yield lambda **changes: make_cluster(
        **{"factories_type": None, "factories_types": TYPES, "subnet_id": None, "subnet_ids": subnets[:2], **changes}
    )


def test_types_and_subnets_are_used_in_order_and_each_refusal_is_reported(
    flexible: Any, account: Account, subnets: list[str]
) -> None:
    a, b = subnets[:2]
    cluster = flexible(factories_num=3)
    notices = watch(cluster)
    seen = limit(cluster, {("m5.large", a): CAPACITY, ("m5.large", b): "Unsupported", ("m4.large", a): 0})
    cluster.load_all_instances()
    assert requests(cluster) == [
        ("m5.large", a, 1, 3),
        ("m5.large", b, 1, 3),
        ("m4.large", a, 1, 3),
        ("m4.large", b, 3, 3),
    ]
    assert {
        (one["InstanceType"], one["SubnetId"]) for one in account.instances() if "factory" in tags_of(one)["Name"]
    } == {("m4.large", b)}
    assert max(seen) == 4
    found = [one for one in notices if one.startswith("factories: ") and "no room" in one]
    zones = [one["AvailabilityZone"] for one in account.ec2.describe_subnets(SubnetIds=[a])["Subnets"]]
    first = f"factories: m5.large in {zones[0]} ({a}): We have no room ({CAPACITY})"
    assert found[0] == f"{first}; next: {_name(account, 'm5.large', b)}"
    assert "(Unsupported)" in found[1]
    assert len(found) == 3
    tokens = [one["ClientToken"] for one in cluster.calls.of_kind("RunInstances")]
    assert len(set(tokens)) == 5  # of the factories' four requests, and the orchestrator's
    outcomes = [one.outcome for one in journal.Journal(cluster.state_dir).read()]
    assert outcomes == [f"refused: {CAPACITY}", "refused: Unsupported", f"refused: {CAPACITY}", "done", "done"]


def test_many_hosts_are_requested_in_batches(
    make_cluster: Any, account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(creating, "MOST", 2)
    cluster = make_cluster(factories_num=5)
    cluster.load_all_instances()
    assert [counts for _, _, *counts in requests(cluster)] == [[2, 2], [2, 2], [1, 1]]
    assert sorted(tags_of(one)["Name"] for one in account.instances()) == [
        *(f"trial_factory_{index}" for index in range(5)), "trial_orchestrator",
    ]  # fmt: skip
    assert len({one["ClientToken"] for one in cluster.calls.of_kind("RunInstances")}) == 4


def test_a_batch_that_is_refused_moves_the_rest_to_the_next_type(
    flexible: Any, subnets: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(creating, "MOST", 2)
    a, b = subnets[:2]
    cluster = flexible(factories_num=5)
    seen = limit(cluster, {("m5.large", a): 3, ("m5.large", b): CAPACITY})
    cluster.load_all_instances()
    assert requests(cluster) == [
        ("m5.large", a, 1, 2), ("m5.large", a, 1, 2), ("m5.large", b, 1, 2), ("m4.large", a, 1, 2),
    ]  # fmt: skip
    assert max(seen) == 6


def _name(account: Account, kind: str, subnet: str) -> str:
    [found] = account.ec2.describe_subnets(SubnetIds=[subnet])["Subnets"]
    return f"{kind} in {found['AvailabilityZone']} ({subnet})"


def test_a_partial_fill_is_kept_and_completed_with_the_next_type(
    flexible: Any, account: Account, subnets: list[str]
) -> None:
    a, b = subnets[:2]
    cluster = flexible(factories_num=4)
    notices = watch(cluster)
    seen = limit(cluster, {("m5.large", a): 1, ("m5.large", b): 2})
    cluster.load_all_instances()
    assert requests(cluster) == [("m5.large", a, 1, 4), ("m5.large", b, 1, 3), ("m4.large", a, 1, 1)]
    assert max(seen) == 5
    assert account.names() == [*(f"trial_factory_{index}" for index in range(4)), "trial_orchestrator"]
    assert sorted(cluster.created) == account.names()
    kinds = sorted(one["InstanceType"] for one in account.instances() if "factory" in tags_of(one)["Name"])
    assert kinds == ["m4.large", "m5.large", "m5.large", "m5.large"]
    assert len(account.alarms()) == 4
    assert (
        f"factories: {_name(account, 'm5.large', a)}: room for 1 of 4 hosts; next: {_name(account, 'm5.large', b)}"
        in notices
    )
    again = flexible(factories_num=4)
    assert not [note for note in again.plan().notes if "unchanged" in note]
    again.load_all_instances()
    assert "RunInstances" not in again.calls.changing


def test_a_type_without_quota_is_not_requested_in_other_subnets(flexible: Any, subnets: list[str]) -> None:
    cluster = flexible()
    limit(cluster, {"m5.large": "VcpuLimitExceeded"})
    cluster.load_all_instances()
    assert [one[:2] for one in requests(cluster)] == [("m5.large", subnets[0]), ("m4.large", subnets[0])]


def test_the_error_lists_all_attempts_and_no_orchestrator_is_created(flexible: Any, account: Account) -> None:
    cluster = flexible()
    limit(cluster, {"m5.large": CAPACITY, "m4.large": "VcpuLimitExceeded"})
    with pytest.raises(AWSError) as caught:
        cluster.load_all_instances()
    lines = caught.value.message.splitlines()
    assert lines[0] == "AWS has no room for 2 of 2 hosts (factories):"
    assert [line.split()[0] for line in lines[1:]] == ["m5.large", "m5.large", "m4.large"]
    assert all(code in line for code, line in zip([CAPACITY, CAPACITY, "VcpuLimitExceeded"], lines[1:], strict=True))
    assert (caught.value.code, caught.value.exit_code) == ("VcpuLimitExceeded", 4)
    assert account.instances() == []


def test_hosts_of_a_partial_fill_stay_with_their_alarms_if_the_rest_is_refused(flexible: Any, account: Account) -> None:
    cluster = flexible(factories_num=3)
    limit(cluster, {"m5.large": 1, "m4.large": 0})
    with pytest.raises(AWSError, match=r"no room for 2 of 3 hosts \(factories\); 1 were created:"):
        cluster.load_all_instances()
    assert (len(account.instances()), len(account.alarms())) == (1, 1)
    assert cluster.created == ["trial_factory_0"]
    again = flexible(factories_num=3)
    limit(again, {})
    again.load_all_instances()
    assert len(account.instances()) == 4
    assert [one[3] for one in requests(again)] == [2]


def test_fewer_factories_are_accepted_and_completed_later(make_cluster: Any, account: Account) -> None:
    cluster = make_cluster(factories_num=4, min_factories=2)
    notices, steps = watch(cluster), dict[str, Status]()
    before = cluster.observer

    def observe(event: Any) -> None:
        before(event)
        if isinstance(event, StepEvent) and event.step == "create":
            steps[event.host] = event.status

    cluster.observer = observe
    limit(cluster, {"t3.large": 3})
    assert "the launch succeeds with 2 of 4 factories if AWS has no room for more" in cluster.plan().notes
    cluster.load_all_instances()
    assert [one[2:] for one in requests(cluster)] == [(2, 4)]
    assert len(cluster.factories) == 3
    assert steps["trial_factory_3"] is Status.SKIPPED
    assert "1 of 4 new factories are missing, which min_factories allows; the next launch tries again" in notices
    stuck = make_cluster(factories_num=4, min_factories=2)
    limit(stuck, {"t3.large": 0})
    stuck.load_all_instances()  # as before: three factories are enough
    assert len(account.instances()) == 4
    make_cluster(factories_num=4, min_factories=2).load_all_instances()
    assert len(account.instances()) == 5


def test_fewer_than_the_accepted_number_are_refused(make_cluster: Any, account: Account) -> None:
    cluster = make_cluster(factories_num=4, min_factories=2)
    limit(cluster, {"t3.large": 1})
    with pytest.raises(AWSError, match="AWS has no room for 4 of 4 hosts"):
        cluster.load_all_instances()
    assert account.instances() == []


def test_an_unclear_answer_ends_the_launch_before_the_next_type(flexible: Any, account: Account) -> None:
    cluster = flexible()
    limit(cluster, {"m5.large": "InternalError"})
    with pytest.raises(AWSError):
        cluster.load_all_instances()
    assert {one[0] for one in requests(cluster)} == {"m5.large"}
    [open_one] = journal.Journal(cluster.state_dir).unfinished()
    assert open_one.stage is journal.Stage.ASKED


def test_a_launch_killed_between_two_types_is_completed(flexible: Any, account: Account) -> None:
    """The answer to the second request is lost: its hosts are found by its token."""
    cluster = flexible(factories_num=3)
    limit(cluster, {"m5.large": 1})
    count = iter(range(100))

    def kill(**_: Any) -> None:
        if next(count) == 2:  # the second request that succeeds is that for m4.large
            raise KeyboardInterrupt

    cluster.plan()
    cluster.clients.ec2.meta.events.register("after-call.ec2.RunInstances", kill)
    with pytest.raises(KeyboardInterrupt):
        cluster.load_all_instances()
    assert len(account.instances()) in (3, 4)
    again = flexible(factories_num=3)
    again.load_all_instances()
    assert len(account.instances()) == 4
    assert account.names() == [*(f"trial_factory_{index}" for index in range(3)), "trial_orchestrator"]


def test_a_type_that_no_zone_offers_is_left_out_with_a_note(make_cluster: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from flambe_ansible.ec2 import api

    offered = api.list_offered_types
    monkeypatch.setattr(
        api, "list_offered_types", lambda ec2, zone, kind="": set() if kind == "m5.large" else offered(ec2, zone, kind)
    )
    cluster = make_cluster(factories_type=None, factories_types=TYPES)
    assert any("does not offer m5.large; it is left out" in note for note in cluster.plan().notes)
    cluster.load_all_instances()
    assert [one[0] for one in requests(cluster)] == ["m4.large"]
    with pytest.raises(ClusterConfigurationError, match=r"does not offer m5\.large"):
        make_cluster(name="other", factories_type="m5.large").plan()


@pytest.mark.parametrize(
    ("changes", "field", "message"),
    [
        ({"factories_types": TYPES}, "factories_types", "and factories_type are both set"),
        ({"factories_type": None}, "factories_type", "has no value"),
        ({"factories_type": None, "factories_types": []}, "factories_types", "is empty"),
        ({"factories_type": None, "factories_types": ["m5.large", "m5.large"]}, "factories_types[1]", "again"),
        ({"subnet_ids": ["subnet-abcdef01"]}, "subnet_ids", "and subnet_id are both set"),
        ({"subnet_id": None, "subnet_ids": ["abcdef01"]}, "subnet_ids[0]", 'is "abcdef01"'),
        ({"min_factories": 3}, "min_factories", "is 3, and factories_num is 2"),
        ({"factories_spot": "yes"}, "factories_spot", 'is "yes"'),
        ({"factories_spot": {"price": 1}}, "factories_spot", "has the unknown key"),
        ({"factories_spot": {"max_price": 0}}, "factories_spot.max_price", "is 0"),
    ],
)
def test_wrong_choices_are_refused(make_cluster: Any, changes: dict[str, Any], field: str, message: str) -> None:
    cluster = make_cluster(**changes)
    cluster._key = ""
    cluster.key_name = None
    with pytest.raises(ClusterConfigurationError) as caught:
        cluster.parse()
    [problem] = caught.value.problems
    assert problem.field == field
    assert message in problem.message


def test_unknown_types_and_subnets_of_another_network_are_refused(
    flexible: Any, account: Account, subnets: list[str]
) -> None:
    vpc = account.ec2.create_vpc(CidrBlock="10.8.0.0/16")["Vpc"]["VpcId"]
    other = account.ec2.create_subnet(VpcId=vpc, CidrBlock="10.8.1.0/24")["Subnet"]["SubnetId"]
    cluster = flexible(factories_types=["m5.large", "m5.huge"], subnet_ids=[subnets[0], other])
    with pytest.raises(ClusterConfigurationError) as caught:
        cluster.plan()
    assert [one.field for one in caught.value.problems] == ["subnet_ids", "factories_types"]


def test_a_small_quota_is_a_note_if_there_are_other_types(make_cluster: Any, account: Account) -> None:
    account.quotas["L-DB2E81BA"] = 0.0
    cluster = make_cluster(factories_type=None, factories_types=["g4dn.xlarge", "m5.large"])
    assert any("quota L-DB2E81BA" in note and "next type will be used" in note for note in cluster.plan().notes)
