"""IAM policies of a lab: what they allow, which files are refused, and the denials that clients get."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from flambe_ansible.errors import LabUsageError
from flambe_ansible.lab import lifecycle, policies
from flambe_ansible.lab.policies import Need, Policy
from tests.unit.lab.served import ServedLab, serve

INSTANCE = "arn:aws:ec2:us-east-1:123456789012:instance/i-1"


def make(*statements: dict[str, Any]) -> Policy:
    return policies.parse(json.dumps({"Version": "2012-10-17", "Statement": list(statements)}))


def allow(**elements: Any) -> dict[str, Any]:
    return {"Effect": "Allow", "Action": "ec2:*", "Resource": "*", **elements}


@pytest.mark.parametrize(
    ("statement", "allowed"),
    [
        (allow(), True),
        (allow(Action=["s3:GetObject", "EC2:start*"]), True),
        (allow(Action="ec2:StopInstances"), False),
        (allow(Action="*"), True),
        (allow(Resource="arn:aws:ec2:*:*:instance/*"), True),
        (allow(Resource="arn:aws:ec2:*:*:volume/*"), False),
        (allow(Resource="arn:aws:ec2:*:*:instance/i-?"), True),
        ({"Effect": "Allow", "NotAction": ["iam:*", "s3:*"], "Resource": "*"}, True),
        ({"Effect": "Allow", "NotAction": "ec2:Start*", "Resource": "*"}, False),
        (allow(Condition={"StringEquals": {"aws:ResourceTag/Purpose": "flambe"}}), True),
        (allow(Condition={"StringEquals": {"AWS:resourcetag/purpose": ["other", "flambe"]}}), True),
        (allow(Condition={"StringEquals": {"aws:ResourceTag/Purpose": "Flambe"}}), False),
        (allow(Condition={"StringEquals": {"aws:ResourceTag/Other": "flambe"}}), False),
        (allow(Condition={"StringEqualsIfExists": {"aws:ResourceTag/Other": "flambe"}}), True),
        (allow(Condition={"StringNotEquals": {"aws:ResourceTag/Purpose": "flambe"}}), False),
        (allow(Condition={"StringNotEquals": {"aws:ResourceTag/Other": "flambe"}}), True),
        (allow(Condition={"StringLike": {"aws:ResourceTag/Purpose": "fl*e"}}), True),
        (allow(Condition={"StringEquals": {"aws:RequestedRegion": ["eu-west-1"]}}), False),
        (
            allow(
                Condition={
                    "StringEquals": {"aws:RequestedRegion": "us-east-1"},
                    "StringNotLike": {"ec2:ResourceTag/Purpose": "x*"},
                }
            ),
            True,
        ),
        (allow(Condition={"ForAllValues:StringLike": {"cloudwatch:AlarmActions": "arn:*"}}), True),
    ],
)
def test_a_statement_allows_an_action(statement: dict[str, Any], allowed: bool) -> None:
    context = {"aws:resourcetag/purpose": ["flambe"], "aws:requestedregion": ["us-east-1"]}
    reason = make(statement).explain_denial(Need("ec2:StartInstances", INSTANCE, context))
    assert (reason == "") is allowed
    assert allowed or reason == "because no identity-based policy allows the ec2:StartInstances action"


def test_a_denial_has_precedence() -> None:
    policy = make(allow(), {"Effect": "Deny", "Action": "ec2:Terminate*", "Resource": "*"})
    assert policy.explain_denial(Need("ec2:StartInstances", INSTANCE)) == ""
    assert "explicit deny" in policy.explain_denial(Need("ec2:TerminateInstances", INSTANCE))


@pytest.mark.parametrize(
    ("statement", "position", "message"),
    [
        (
            allow(Condition={"IpAddress": {"aws:SourceIp": "10.0.0.0/8"}}),
            "8:5",
            "does not evaluate the operator IpAddress; expected one of",
        ),
        (allow(Condition={"StringEquals": {"aws:username": "ada"}}), "9:6", "the condition key aws:username"),
        (allow(Resource="arn:aws:iam::*:user/${aws:username}"), "6:16", "the variable in"),
        (allow(Principal="*"), "7:4", "does not evaluate Principal"),
        ({"Effect": "Allow", "Action": "ec2:*", "NotResource": "*"}, "6:4", "does not evaluate NotResource"),
        (allow(Effect="Yes"), "4:14", "Effect must be Allow or Deny"),
        (allow(Action="RunInstances"), "5:14", "'RunInstances' is not an action"),
        ({"Effect": "Allow", "Resource": "*"}, "4:4", "needs Action or NotAction"),
    ],
)
def test_a_policy_that_the_lab_cannot_evaluate_is_refused_in_one_line(
    statement: dict[str, Any], position: str, message: str, tmp_path: Path
) -> None:
    path = tmp_path / "policy.json"
    path.write_text(json.dumps({"Statement": [statement]}, indent=1))
    with pytest.raises(LabUsageError) as caught:
        lifecycle.up("unused", policy=path)
    assert str(caught.value).startswith(f"{path}:")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    line, column = str(caught.value).removeprefix(f"{path}:").split(":")[:2]
    assert f"{line}:{column}" == position


@pytest.mark.parametrize(
    ("text", "message"),
    [("{", ":1:2: not valid JSON"), ("[]", ":1:1: a policy needs"), ('{"Statement": []}', ":1:2: a policy needs")],
)
def test_other_files_are_refused(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "policy.json"
    path.write_text(text)
    with pytest.raises(LabUsageError) as caught:
        policies.read_file(path)
    assert message in str(caught.value)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LabUsageError, match=r"none.json: cannot be read: No such file"):
        policies.read_file(tmp_path / "none.json")


LOOK = allow(Action="ec2:Describe*")


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedLab]:
    policy = json.dumps({"Statement": [LOOK, allow(Action="sts:*")]})
    with serve(tmp_path_factory.mktemp("lab"), policy=policy) as served:
        yield served


def refused(call: Any, **parameters: Any) -> tuple[str, int, str]:
    """Return code, HTTP status and message of a refused call."""
    with pytest.raises(ClientError) as caught:
        call(**parameters)
    answer = caught.value.response
    return answer["Error"]["Code"], answer["ResponseMetadata"]["HTTPStatusCode"], answer["Error"]["Message"]


@pytest.mark.parametrize("dry", [False, True])
def test_ec2_denies_with_an_encoded_message_also_in_dry_runs(lab: ServedLab, dry: bool) -> None:
    ec2 = lab.client()
    assert ec2.describe_instances()["Reservations"] == []
    request = {"ImageId": lab.cloud.image_id, "MinCount": 1, "MaxCount": 1, "DryRun": dry}
    code, status, message = refused(ec2.run_instances, **request)
    assert (code, status) == ("UnauthorizedOperation", 403)
    assert "not authorized to perform: ec2:RunInstances on resource: arn:aws:ec2:us-east-1:123456789012:" in message
    encoded = message.partition("Encoded authorization failure message: ")[2]
    decoded = json.loads(lab.client("sts").decode_authorization_message(EncodedMessage=encoded)["DecodedMessage"])
    assert decoded["context"]["action"] == "ec2:RunInstances"
    assert not decoded["explicitDeny"]


def test_other_services_deny_in_their_protocols(lab: ServedLab) -> None:
    cloudwatch, ssm = lab.client("cloudwatch"), lab.client("ssm")
    assert refused(cloudwatch.describe_alarms)[:2] == ("AccessDenied", 403)
    assert refused(cloudwatch.delete_alarms, AlarmNames=["a"])[:2] == ("AccessDenied", 403)
    assert refused(ssm.get_parameter, Name="/aws/x")[:2] == ("AccessDeniedException", 400)
    assert lab.client("sts").get_caller_identity()["Account"] == "123456789012"


def test_a_message_of_another_account_is_not_decoded(lab: ServedLab) -> None:
    code, status, _ = refused(lab.client("sts").decode_authorization_message, EncodedMessage="abc")
    assert (code, status) == ("InvalidAuthorizationMessageException", 400)


@pytest.mark.parametrize(
    ("existing", "option"),
    [
        ({"policy": None}, "--policy"),
        ({"consistency": "eventual"}, "--consistency"),
        ({"console_delay": 9.0}, "--console-delay"),
    ],
)
def test_a_lab_that_exists_keeps_its_behaviour(
    existing: dict[str, Any], option: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "policy.json"
    path.write_text(json.dumps({"Statement": [LOOK]}))
    wanted = {key: path if key == "policy" else value for key, value in existing.items()}
    monkeypatch.setattr(lifecycle.state, "root", lambda: tmp_path)
    monkeypatch.setattr(lifecycle, "require_root", lambda _words: None)
    monkeypatch.setattr(lifecycle, "require_packages", lambda: None)
    monkeypatch.setattr(lifecycle.sources, "this_release", lambda: None)
    settings = lifecycle.Settings(name="old", network="10.213.4.0/24", port=1, image="")
    settings.folder.mkdir(parents=True)
    lifecycle.state.save(settings)
    with pytest.raises(LabUsageError, match=f"the lab old exists, and {option} is for a new lab"):
        lifecycle.up("old", **wanted)
