"""Checks of an AWS account, with moto in this process."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any
from unittest.mock import create_autospec

import boto3
import pytest
from botocore import credentials
from botocore.exceptions import ClientError, TokenRetrievalError

from flambe_ansible.doctor import account as doctor
from flambe_ansible.ec2 import alarms, checks, signin
from flambe_ansible.ec2.clients import Clients
from flambe_ansible.findings import Finding, Level
from tests.unit.ec2.support import REGION, SSH_RULE, Account, client_error, refuse

CHECKS = [
    "credentials", "identity", "clock", "region", "subnet", "public addresses", "security group", "key pair",
    "orchestrator", "factory", "costs", "vCPU quota", "internet route", "idle alarms",
]  # fmt: skip
ROLE_POLICY = json.dumps({"Version": "2012-10-17", "Statement": []})


def by_check(findings: list[Finding]) -> dict[str, Finding]:
    return {finding.check: finding for finding in findings}


def make_role(session: boto3.Session) -> None:
    session.client("iam").create_role(RoleName=alarms.ROLE, AssumeRolePolicyDocument=ROLE_POLICY)


def test_an_account_that_fits(make_cluster: Any, account: Account, aws_session: boto3.Session) -> None:
    make_role(aws_session)
    cluster = make_cluster(factories_type="m5.large", orchestrator_type="m5.large")
    findings = cluster.diagnose()
    assert [finding.check for finding in findings] == CHECKS
    shown = by_check(findings)
    assert {check for check, finding in shown.items() if finding.level is not Level.OK} == {"internet route"}
    assert "account 123456789012" in shown["identity"].fact
    assert shown["region"].fact == f"{REGION} is enabled"
    assert "0 in use, 6 more needed" in shown["vCPU quota"].fact
    assert cluster.calls.changing == ["PutMetricAlarm", "DeleteAlarms"]
    assert (account.instances(), account.alarms()) == ([], {})


def test_a_fresh_account(make_cluster: Any, account: Account) -> None:
    account.quotas.update({"L-DB2E81BA": 0.0, "L-1216C47A": 5.0})
    empty = account.ec2.create_security_group(
        GroupName="e", Description="e", VpcId=account.ec2.describe_subnets()["Subnets"][0]["VpcId"]
    )["GroupId"]
    account.ec2.authorize_security_group_ingress(GroupId=empty, IpPermissions=[SSH_RULE])
    cluster = make_cluster(factories_type="g4dn.xlarge", key_name="mine", security_group=empty)
    shown = by_check(cluster.diagnose())
    assert {check for check, finding in shown.items() if finding.level is Level.FAILED} == {
        "key pair", "security group", "vCPU quota",
    }  # fmt: skip
    (problem,) = shown["vCPU quota"].problems
    assert "is 0 vCPUs: 0 in use, 8 more needed" in problem.message
    assert "aws iam create-service-linked-role" in shown["idle alarms"].remedy
    assert shown["idle alarms"].level is Level.NOTE
    assert cluster.calls.changing == []


def test_the_hosts_of_an_existing_cluster_are_not_counted_twice(make_cluster: Any, account: Account) -> None:
    make_cluster().load_all_instances()
    account.quotas["L-1216C47A"] = 6.0
    shown = by_check(make_cluster().diagnose())
    assert "6 in use, 0 more needed" in shown["vCPU quota"].fact


def test_a_missing_permission_for_hosts_is_a_problem(make_cluster: Any) -> None:
    cluster = make_cluster()
    refuse(cluster.clients.ec2, "RunInstances", [client_error("UnauthorizedOperation", status=403)])
    finding = cluster.diagnose()[-1]
    assert (finding.check, finding.level, finding.exit_code) == ("launch", Level.FAILED, 4)


def test_optional_permissions_are_notes(make_cluster: Any) -> None:
    cluster = make_cluster()
    refuse(cluster.clients.iam, "GetRole", [client_error("AccessDenied", "GetRole", status=403)])
    refuse(
        cluster.clients.ec2, "DescribeRouteTables", [client_error("UnauthorizedOperation", "DescribeRouteTables")] * 9
    )
    shown = by_check(cluster.diagnose())
    assert shown["idle alarms"].notes == ("not checked: these credentials may not call GetRole",)
    assert shown["internet route"].notes == ("not checked: these credentials may not call DescribeRouteTables",)


def test_alarms_that_may_not_be_set_are_a_problem(
    make_cluster: Any, account: Account, aws_session: boto3.Session
) -> None:
    make_role(aws_session)
    cluster = make_cluster()
    refuse(cluster.clients.cloudwatch, "PutMetricAlarm", [client_error("AccessDenied", "PutMetricAlarm", status=403)])
    assert by_check(cluster.diagnose())["idle alarms"].level is Level.FAILED
    assert "none are set" in by_check(make_cluster(factories_timeout=-1).diagnose())["idle alarms"].fact
    assert account.alarms() == {}


@pytest.mark.parametrize(("target", "found"), [("igw", True), ("nat", True), ("", False)])
def test_the_route_to_the_internet(make_cluster: Any, account: Account, target: str, found: bool) -> None:
    """https://docs.aws.amazon.com/vpc/latest/userguide/VPC_Route_Tables.html."""
    cluster = make_cluster()
    name = {"igw": "GatewayId", "nat": "NatGatewayId"}.get(target)

    def show(parsed: dict[str, Any], **_: Any) -> None:
        route = {"DestinationCidrBlock": "0.0.0.0/0", name: f"{target}-1"} if name else {}
        parsed["RouteTables"] = [{"Routes": [{"DestinationCidrBlock": "172.31.0.0/16", "GatewayId": "local"}, route]}]

    cluster.clients.ec2.meta.events.register("after-call.ec2.DescribeRouteTables", show)
    finding = checks.examine_route(cluster.clients.ec2, account.arguments["subnet_id"])
    assert (finding.level is Level.OK) is found
    assert f"{target}-1" in finding.fact or not found


# Sign-in, clock and region.


class Refreshed(credentials.RefreshableCredentials):
    """Temporary credentials that end at a given time."""

    def __init__(self, expires: datetime, method: str) -> None:
        super().__init__("k", "s", "t", expires, dict, method)
        self._refresh_using = dict

    def get_frozen_credentials(self) -> Any:
        return credentials.ReadOnlyCredentials("k", "s", "t")


@pytest.mark.parametrize(
    ("method", "hours", "level", "text"),
    [
        ("sso", 8, Level.OK, "from IAM Identity Center (aws sso login), until 20"),
        ("sso", 0.5, Level.NOTE, "that is soon"),
        ("iam-role", 0.5, Level.OK, "from the role of this EC2 instance"),
        ("login", 5, Level.OK, "from aws login"),
    ],
)
def test_temporary_credentials_have_an_end(method: str, hours: float, level: Level, text: str) -> None:
    session = create_autospec(boto3.Session, instance=True, profile_name="default", available_profiles=[])
    session.get_credentials.return_value = Refreshed(datetime.now(UTC) + timedelta(hours=hours), method)
    found = signin.read(session)
    assert found is not None
    finding = doctor._judge_credentials(found)
    assert finding.level is level
    assert text in " ".join((finding.fact, *finding.notes))


def test_credentials_that_cannot_be_fetched_are_a_problem(make_cluster: Any) -> None:
    cluster = make_cluster()
    session = create_autospec(boto3.Session, instance=True)
    session.get_credentials.side_effect = TokenRetrievalError(provider="sso", error_msg="Token has expired")
    cluster.clients.__dict__["session"] = session
    (finding,) = cluster.diagnose()
    assert (finding.check, finding.level, finding.exit_code) == ("credentials", Level.FAILED, 4)
    assert "aws sso login" in finding.problems[0].expected


@pytest.mark.parametrize(("required", "level"), [(True, Level.FAILED), (False, Level.NOTE)])
def test_missing_credentials(required: bool, level: Level) -> None:
    session = create_autospec(boto3.Session, instance=True)
    session.get_credentials.return_value = None
    (finding,) = doctor.examine_account(Clients(lambda: session, lambda: None), required=required)
    assert finding.level is level


@pytest.mark.parametrize(
    ("seconds", "level", "text"),
    [(3, Level.OK, "ahead of AWS's"), (-90, Level.NOTE, "behind AWS's"), (-4000, Level.FAILED, "behind AWS's")],
)
def test_the_clock_is_compared_with_the_answers(seconds: float, level: Level, text: str) -> None:
    there = datetime.now(UTC) - timedelta(seconds=seconds)
    (finding,) = doctor._judge_clock({"date": format_datetime(there, usegmt=True)})
    assert finding.level is level
    assert text in " ".join((finding.fact, *finding.notes, *(problem.message for problem in finding.problems)))
    assert doctor._judge_clock({}) == doctor._judge_clock({"date": "?"}) == []


def test_a_wrong_clock_is_named_if_aws_rejects_the_signature(make_cluster: Any) -> None:
    cluster = make_cluster()
    there = format_datetime(datetime.now(UTC) + timedelta(hours=2), usegmt=True)
    error = ClientError(
        {
            "Error": {"Code": "SignatureDoesNotMatch", "Message": "Signature expired"},
            "ResponseMetadata": {"HTTPStatusCode": 403, "HTTPHeaders": {"date": there}},
        },  # type: ignore[typeddict-item]
        "GetCallerIdentity",
    )
    refuse(cluster.clients.identity_source, "GetCallerIdentity", [error])
    shown = by_check(cluster.diagnose())
    assert set(shown) == {"credentials", "clock", "identity"}
    assert re.search(r"clock is 7(199|200) s behind AWS's", shown["clock"].problems[0].message)
    assert shown["identity"].level is Level.FAILED


def test_a_region_that_is_not_enabled_is_told_from_wrong_credentials(make_cluster: Any) -> None:
    """https://docs.aws.amazon.com/accounts/latest/reference/manage-acct-regions.html."""
    cluster = make_cluster()
    refuse(cluster.clients.ec2, "DescribeKeyPairs", [client_error("AuthFailure", "DescribeKeyPairs", status=401)])
    finding = cluster.diagnose()[-1]
    assert (finding.check, finding.level) == ("region", Level.FAILED)
    assert f"aws account enable-region --region-name {REGION}" in finding.problems[0].expected


def test_the_quotas_of_an_account_without_a_cluster(make_cluster: Any, account: Account) -> None:
    account.quotas["L-DB2E81BA"] = 0.0
    standard, gpu = doctor.examine_quotas(make_cluster().clients)
    assert (standard.level, gpu.level) == (Level.OK, Level.NOTE)
    assert gpu.remedy.endswith("--quota-code L-DB2E81BA --desired-value 8")
