"""Creation of instances: the request, unclear answers, and interrupted processes."""

from __future__ import annotations

import itertools
import subprocess
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.exceptions import ReadTimeoutError
from botocore.stub import Stubber

from flambe_ansible.ec2 import guard, instances, launching, tags
from flambe_ansible.ec2.errors import ThrottledError, UnclearAnswerError
from flambe_ansible.ec2.images import Image
from flambe_ansible.errors import AWSError
from flambe_ansible.hosts import Role
from flambe_ansible.journal import Journal, Stage
from tests.unit.ec2.support import Account, client_error, refuse, tags_of

CLUSTER = tags.ClusterTags(name="trial", creator="ada", user_tags={"company": "engines"})
IMAGE = Image(id="ami-12345678", origin="", root_device="/dev/xvda", architecture="x86_64", size=8, state="available")


def _settings(**changes: Any) -> launching.InstanceSettings:
    values: dict[str, Any] = {
        "types": {Role.ORCHESTRATOR: "t3.small", Role.FACTORY: "t3.large"},
        "images": {Role.ORCHESTRATOR: None, Role.FACTORY: None},
        "key_name": "work",
        "key": Path("/nowhere/key.pem"),
        "security_group": "sg-1",
        "subnet_id": "subnet-1",
        "volume_type": "gp2",
        "volume_size": 100,
        "dedicated": False,
    }
    return launching.InstanceSettings(**{**values, **changes})


def _build(role: Role = Role.FACTORY, indices: tuple[int, ...] = (0, 1), **changes: Any) -> dict[str, Any]:
    return launching.build_request(_settings(**changes), IMAGE, cluster=CLUSTER, role=role, indices=indices)


def test_build_request() -> None:
    own = [
        {"Key": "company", "Value": "engines"},
        {"Key": "creator", "Value": "ada"},
        {"Key": "Purpose", "Value": "flambe"},
        {"Key": "Cluster-Name", "Value": "trial"},
        {"Key": "Role", "Value": "Factory"},
        {"Key": "Name", "Value": "trial_factory"},
    ]
    assert _build() == {
        "ImageId": "ami-12345678",
        "InstanceType": "t3.large",
        "MinCount": 2,
        "MaxCount": 2,
        "KeyName": "work",
        "SubnetId": "subnet-1",
        "SecurityGroupIds": ["sg-1"],
        "BlockDeviceMappings": [
            {
                "DeviceName": "/dev/xvda",
                "Ebs": {"VolumeType": "gp2", "VolumeSize": 100, "Encrypted": True, "DeleteOnTermination": True},
            }
        ],
        "MetadataOptions": {"HttpEndpoint": "enabled", "HttpTokens": "required", "HttpPutResponseHopLimit": 1},
        "InstanceInitiatedShutdownBehavior": "stop",
        "TagSpecifications": [{"ResourceType": "instance", "Tags": own}, {"ResourceType": "volume", "Tags": own}],
    }


def test_hosts_that_power_themselves_off_are_terminated_and_get_a_guard() -> None:
    ending = frozenset({Role.FACTORY})
    factory, orchestrator = (_build(role, (0,), ending=ending) for role in (Role.FACTORY, Role.ORCHESTRATOR))
    assert factory["InstanceInitiatedShutdownBehavior"] == "terminate"
    assert factory["UserData"] == guard.write_user_data()
    assert orchestrator["InstanceInitiatedShutdownBehavior"] == "stop"
    assert "UserData" not in orchestrator


def test_hosts_of_a_cluster_with_a_budget_get_its_end() -> None:
    ending = frozenset({Role.FACTORY})
    factory, orchestrator = (
        _build(role, (0,), ending=ending, ends_at=1_800_000_000.0) for role in (Role.FACTORY, Role.ORCHESTRATOR)
    )
    assert factory["UserData"] == guard.write_user_data(ends_at=1_800_000_000)
    assert orchestrator["UserData"] == guard.write_user_data(seconds=0, ends_at=1_800_000_000)
    assert orchestrator["InstanceInitiatedShutdownBehavior"] == "stop"  # its results are kept


@pytest.mark.parametrize(("seconds", "ends_at"), [(3600, 0), (3600, 1_800_000_000), (0, 1_800_000_000)])
def test_the_guard_is_a_script_with_the_configured_checks(seconds: int, ends_at: float) -> None:
    script = guard.write_user_data(seconds=seconds, ends_at=ends_at)
    subprocess.run(["sh", "-n"], input=script, text=True, check=True)
    assert ("-ge 1800000000 ]; then exec systemctl poweroff" in script) == bool(ends_at)
    assert ("-ge 3600 ]" in script) == bool(seconds)


@pytest.mark.parametrize(
    ("changes", "volume", "description"),
    [
        ({"volume_type": "gp3"}, {"VolumeType": "gp3"}, "gp3, 100 GB, encrypted"),
        ({"volume_type": "io1"}, {"VolumeType": "io1", "Iops": 5000}, "io1, 5000 IOPS, 100 GB, encrypted"),
        ({"volume_size": 250}, {"VolumeSize": 250}, "gp2, 250 GB, encrypted"),
    ],
)
def test_build_request_for_volumes(changes: dict[str, Any], volume: dict[str, Any], description: str) -> None:
    ebs = _build(**changes)["BlockDeviceMappings"][0]["Ebs"]
    assert ebs.items() >= volume.items()
    assert ("Iops" in ebs) is ("Iops" in volume)
    assert _settings(**changes).volume == description


def test_build_request_for_dedicated_hardware() -> None:
    assert "Placement" not in _build()
    assert _build(dedicated=True)["Placement"] == {"Tenancy": "dedicated"}


def test_build_request_names_a_single_host() -> None:
    for role, indices, name in (
        (Role.ORCHESTRATOR, (0,), "trial_orchestrator"),
        (Role.FACTORY, (4,), "trial_factory_4"),
    ):
        request = _build(role, indices)
        assert [tags_of(one)["Name"] for one in request["TagSpecifications"]] == [name, name]
        assert request["MinCount"] == request["MaxCount"] == 1
        assert request["InstanceType"] == _settings().types[role]


@pytest.mark.parametrize(
    ("code", "message"), [("UnauthorizedOperation", "UnauthorizedOperation"), ("InvalidParameterValue", "Invalid")]
)
def test_rehearse_raises_refusals(account: Account, code: str, message: str) -> None:
    refuse(account.ec2, "RunInstances", [client_error(code)])
    with pytest.raises(AWSError, match=message):
        launching.rehearse(account.ec2, _real(account))


def test_rehearse_creates_nothing(account: Account) -> None:
    launching.rehearse(account.ec2, _real(account))
    assert account.instances() == []


def _real(account: Account, *, count: int = 2, **changes: Any) -> dict[str, Any]:
    """Return a request that the account accepts."""
    given = account.arguments
    settings = _settings(
        key_name=given["key_name"], security_group=given["security_group"], subnet_id=given["subnet_id"], **changes
    )
    image = Image(id=given["factory_ami"], origin="", root_device="/dev/sda1", architecture="", size=0, state="")
    return launching.build_request(settings, image, cluster=CLUSTER, role=Role.FACTORY, indices=range(count))


def _tokens_sent(client: Any) -> list[str]:
    sent: list[str] = []

    def record(params: dict[str, Any], **_: Any) -> None:
        sent.append(params["ClientToken"])

    client.meta.events.register("provide-client-params.ec2.RunInstances", record)
    return sent


def _create(account: Account, folder: Path, request: dict[str, Any]) -> list[instances.EC2Instance]:
    return launching.create(account.ec2, Journal(folder), request, role=Role.FACTORY, tokens=set(), sender=account.ec2)


def test_create_writes_the_journal_before_the_request(account: Account, tmp_path: Path) -> None:
    seen: list[Any] = []

    def look(params: dict[str, Any], **_: Any) -> None:
        seen.append(
            [(one.token, one.stage) for one in Journal(tmp_path).read()] == [(params["ClientToken"], Stage.ASKED)]
        )

    account.ec2.meta.events.register("provide-client-params.ec2.RunInstances", look)
    tokens: set[str] = set()
    made = launching.create(
        account.ec2, Journal(tmp_path), _real(account), role=Role.FACTORY, tokens=tokens, sender=account.ec2
    )
    assert seen == [True]
    (entry,) = Journal(tmp_path).read()
    assert entry.stage is Stage.ANSWERED
    assert set(entry.ids) == {one.id for one in made} == {one["InstanceId"] for one in account.instances()}
    assert tokens == {entry.token}


@pytest.mark.parametrize(
    "error",
    [
        ReadTimeoutError(endpoint_url="https://ec2"),
        client_error("InternalError", status=500),
        client_error("Unavailable", status=503),
    ],
)
def test_a_request_with_an_unclear_answer_is_repeated_with_the_same_token(
    account: Account, tmp_path: Path, error: Exception
) -> None:
    sent = _tokens_sent(account.ec2)
    refuse(account.ec2, "RunInstances", [error, error, None])
    assert len(_create(account, tmp_path, _real(account))) == 2
    assert len(sent) == 3
    assert len(set(sent)) == 1
    assert len(account.instances()) == 2


def test_the_next_launch_uses_the_token_of_an_unclear_answer(account: Account, tmp_path: Path) -> None:
    sent = _tokens_sent(account.ec2)
    refuse(account.ec2, "RunInstances", [client_error("InternalError", status=500)] * 4)
    with pytest.raises(UnclearAnswerError) as caught:
        _create(account, tmp_path, _real(account))
    assert "creates no host twice" in (caught.value.hint or "")
    assert Journal(tmp_path).unfinished()[0].stage is Stage.ASKED
    _create(account, tmp_path, _real(account))
    assert len(set(sent)) == 1
    assert len(account.instances()) == 2


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("InsufficientInstanceCapacity", 500),
        ("InsufficientHostCapacity", 500),
        ("VcpuLimitExceeded", 400),
        ("InvalidParameterCombination", 400),
    ],
)
def test_the_attempt_after_a_refusal_has_a_new_token(account: Account, tmp_path: Path, code: str, status: int) -> None:
    """A lack of capacity is a refusal, although AWS answers with the status of a server error.

    https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html
    """
    sent = _tokens_sent(account.ec2)
    refuse(account.ec2, "RunInstances", [client_error(code, status=status)])
    with pytest.raises(AWSError) as caught:
        _create(account, tmp_path, _real(account))
    assert caught.value.code == code
    assert Journal(tmp_path).unfinished() == []
    assert Journal(tmp_path).read()[0].outcome == f"refused: {code}"
    _create(account, tmp_path, _real(account))
    assert len(set(sent)) == len(sent) == 2


THROTTLED = client_error("RequestLimitExceeded", message="Request limit exceeded.", status=503)


def test_a_throttled_request_is_repeated(account: Account, tmp_path: Path) -> None:
    """https://docs.aws.amazon.com/ec2/latest/devguide/ec2-api-throttling.html."""
    sent = _tokens_sent(account.ec2)
    refuse(account.ec2, "RunInstances", [THROTTLED, THROTTLED])
    assert len(_create(account, tmp_path, _real(account))) == 2
    assert len(sent) == 3
    assert len(set(sent)) == 1


def test_a_request_that_is_always_throttled_was_not_carried_out(account: Account, tmp_path: Path) -> None:
    refuse(account.ec2, "RunInstances", [THROTTLED] * 4)
    with pytest.raises(ThrottledError, match="Request limit exceeded") as caught:
        _create(account, tmp_path, _real(account))
    assert "throttles this account" in (caught.value.hint or "")
    assert Journal(tmp_path).read()[0].outcome == "refused: RequestLimitExceeded"


def test_a_throttled_request_after_an_unclear_answer_stays_unclear(account: Account, tmp_path: Path) -> None:
    refuse(account.ec2, "RunInstances", [client_error("InternalError", status=500), *[THROTTLED] * 3])
    with pytest.raises(UnclearAnswerError, match="InternalError") as caught:
        _create(account, tmp_path, _real(account))
    assert "creates no host twice" in (caught.value.hint or "")
    assert Journal(tmp_path).unfinished()[0].stage is Stage.ASKED


def _kill_before_the_answer(account: Account, folder: Path, request: dict[str, Any], *, carried_out: bool) -> str:
    """Simulate a process that is killed after the request; return the token."""
    entry = Journal(folder).open(role="Factory", count=request["MaxCount"], digest=launching.make_digest(request))
    if carried_out:
        account.ec2.run_instances(**request, ClientToken=entry.token)
    return entry.token


def test_an_interrupted_creation_with_hosts_is_found_by_its_token(account: Account, tmp_path: Path) -> None:
    token = _kill_before_the_answer(account, tmp_path, _real(account), carried_out=True)
    found = launching.find_instances(account.ec2, CLUSTER, Journal(tmp_path))
    assert [one.token for one in found] == [token, token]
    (entry,) = Journal(tmp_path).unfinished()
    assert (entry.stage, set(entry.ids)) == (Stage.ANSWERED, {one.id for one in found})


def test_an_interrupted_creation_without_hosts_is_repeated_with_its_token(account: Account, tmp_path: Path) -> None:
    token = _kill_before_the_answer(account, tmp_path, _real(account), carried_out=False)
    assert launching.find_instances(account.ec2, CLUSTER, Journal(tmp_path)) == []
    sent = _tokens_sent(account.ec2)
    _create(account, tmp_path, _real(account))
    assert sent == [token]


def test_an_old_interrupted_creation_is_not_repeated(
    account: Account, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launching, "VISIBLE_SECONDS", 0.0)
    token = _kill_before_the_answer(account, tmp_path, _real(account), carried_out=False)
    assert launching.find_instances(account.ec2, CLUSTER, Journal(tmp_path)) == []
    assert Journal(tmp_path).unfinished() == []
    sent = _tokens_sent(account.ec2)
    _create(account, tmp_path, _real(account))
    assert token not in sent


def test_an_interrupted_creation_of_other_hosts_is_not_repeated(
    account: Account, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launching, "VISIBLE_SECONDS", 0.2)
    token = _kill_before_the_answer(account, tmp_path, _real(account), carried_out=False)
    sent = _tokens_sent(account.ec2)
    _create(account, tmp_path, _real(account, volume_size=200))
    assert token not in sent
    assert [one.outcome for one in Journal(tmp_path).read()] == ["never created", ""]


def test_late_hosts_of_an_interrupted_creation_prevent_a_different_creation(account: Account, tmp_path: Path) -> None:
    _kill_before_the_answer(account, tmp_path, _real(account), carried_out=True)
    with pytest.raises(AWSError, match="interrupted launch") as caught:
        _create(account, tmp_path, _real(account, volume_size=200))
    assert "again" in (caught.value.hint or "")
    assert len(account.instances()) == 2


@pytest.mark.parametrize("answer", ["terminated", "IdempotentInstanceTerminated"])
def test_a_token_whose_hosts_have_ended_is_not_used_again(account: Account, tmp_path: Path, answer: str) -> None:
    """AWS refuses the token of a terminated instance; it returns instances that are shutting down.

    https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html
    """
    ec2 = Stubber(boto3.client("ec2", region_name="eu-west-1"))
    request = _real(account, count=1)
    old = _kill_before_the_answer(account, tmp_path, request, carried_out=False)
    tokens: set[str] = set()
    if answer == "terminated":
        ec2.add_response("run_instances", {"Instances": [{"InstanceId": "i-1", "State": {"Name": "terminated"}}]})
    else:
        ec2.add_client_error("run_instances", answer, "The instance has been terminated.", http_status_code=400)
    ec2.add_response("run_instances", {"Instances": [{"InstanceId": "i-2", "State": {"Name": "pending"}}]})
    with ec2:
        made = launching.create(
            ec2.client, Journal(tmp_path), request, role=Role.FACTORY, tokens=tokens, sender=ec2.client
        )
    assert [one.id for one in made] == ["i-2"]
    assert old in tokens
    assert len(tokens) == 2
    assert [one.outcome for one in Journal(tmp_path).read()] == ["ended", ""]


def test_find_instances_waits_for_hosts_that_are_not_visible_yet(account: Account, tmp_path: Path) -> None:
    """A launch repeated at once must not create hosts again that DescribeInstances does not show yet."""
    request = _real(account)
    made = _create(account, tmp_path, request)
    hidden = itertools.count()

    def hide(parsed: dict[str, Any], **_: Any) -> None:
        if next(hidden) < 3:
            parsed["Reservations"] = []

    account.ec2.meta.events.register("after-call.ec2.DescribeInstances", hide)
    found = launching.find_instances(account.ec2, CLUSTER, Journal(tmp_path))
    assert {one.id for one in found} == {one.id for one in made}
    assert next(hidden) == 4
