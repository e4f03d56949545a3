"""The documented policy is sufficient for the product, and every action in it is needed."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import botocore.session
import pytest
from botocore import xform_name

from flambe_ansible import ec2
from flambe_ansible.cluster.aws import AWSCluster
from flambe_ansible.doctor.account import examine_alarms
from flambe_ansible.ec2 import alarms, api, baked
from flambe_ansible.ec2.tagged import list_tagged
from flambe_ansible.ec2.tags import RECIPE
from flambe_ansible.errors import AWSError
from flambe_ansible.lab import policies
from flambe_ansible.lab.authorization import WITHOUT_PERMISSION, Guard
from flambe_ansible.lab.policies import Need
from flambe_ansible.paths import state_root
from flambe_ansible.providers.ec2_costs import CACHE
from tests.unit.lab.served import ServedLab, serve

PAGE = Path(__file__).parents[3] / "docs" / "aws.md"
DOCUMENT: dict[str, Any] = json.loads(ec2.POLICY.read_text())


def list_actions(statement: dict[str, Any]) -> list[str]:
    named = statement["Action"]
    return [named] if isinstance(named, str) else named


ACTIONS = sorted({action for statement in DOCUMENT["Statement"] for action in list_actions(statement)})
DENIED = {"UnauthorizedOperation", "AccessDenied", "AccessDeniedException"}

# The names of clients in the code, and the services.
CLIENTS = {
    "ec2": "ec2",
    "sender": "ec2",
    "cloudwatch": "cloudwatch",
    "iam": "iam",
    "pricing": "pricing",
    "quotas": "service-quotas",
    "ssm": "ssm",
    "sts": "sts",
}
PREFIXES = {"service-quotas": "servicequotas"}

# Actions that AWS itself takes for the user, or another command of the user; no code of this package calls them.
# https://docs.aws.amazon.com/ebs/latest/userguide/ebs-encryption-requirements.html
KEY = "arn:aws:kms:us-east-1:123456789012:key/KEY"
ELSEWHERE = {
    "kms:CreateGrant": Need("kms:CreateGrant", KEY, {"kms:grantisforawsresource": ["true"]}),
    "kms:Decrypt": Need("kms:Decrypt", KEY),
    "kms:DescribeKey": Need("kms:DescribeKey", KEY),
    "kms:GenerateDataKeyWithoutPlaintext": Need("kms:GenerateDataKeyWithoutPlaintext", KEY),
    "kms:ReEncrypt*": Need("kms:ReEncryptFrom", KEY),
    # The calls of sources with s3://; a lab has no S3.
    "s3:GetObject": Need("s3:GetObject", "arn:aws:s3:::BUCKET/data/train.csv"),
    "s3:ListBucket": Need("s3:ListBucket", "arn:aws:s3:::BUCKET"),
}
# The calls that a hint or CloudWatch makes.
INDIRECT = {"sts:DecodeAuthorizationMessage", "iam:CreateServiceLinkedRole", "ec2:DeleteSnapshot"}


def find_calls() -> set[str]:
    """Find the operations that the code can call, as actions of IAM."""
    session = botocore.session.Session()
    found = set()
    for path in Path(ec2.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
                continue
            name, receiver = node.func.attr, node.func.value
            if name == "get_paginator":
                name = ast.literal_eval(node.args[0])
            client = receiver.id if isinstance(receiver, ast.Name) else ""
            if client in CLIENTS:
                service = CLIENTS[client]
                operations = {xform_name(one): one for one in session.get_service_model(service).operation_names}
                if name in operations:  # quotas is a module, too
                    found.add(f"{PREFIXES.get(service, service)}:{operations[name]}")
    return found


def test_each_client_is_known() -> None:
    functions = [one for one in ast.parse(Path(api.__file__).read_text()).body if isinstance(one, ast.FunctionDef)]
    names = {one.args.args[0].arg for one in functions if one.decorator_list}
    assert names <= CLIENTS.keys()


CALLS = find_calls()


def test_the_policy_has_exactly_the_actions_of_the_calls() -> None:
    needed = {call for call in CALLS if call.partition(":")[2] not in WITHOUT_PERMISSION}
    assert set(ACTIONS) == needed | INDIRECT | ELSEWHERE.keys()


def test_the_table_has_exactly_the_calls() -> None:
    table = PAGE.read_text().partition("\n### Calls\n")[2].partition("\n## ")[0]
    rows = [line.split(" | ") for line in table.splitlines() if line.startswith("| `")]
    named = [call for row in rows for call in re.findall(r"`([\w-]+:\w+)`", row[0])]
    assert sorted(named) == sorted(CALLS | {"s3:ListObjectsV2", "s3:GetObject"})
    assert all(len(row) == 5 and all(cell.strip(" |") for cell in row) for row in rows)
    permissions = {one for row in rows for one in re.findall(r"`([\w-]+:\w+\*?)`", row[2])}
    assert permissions <= set(ACTIONS)


def test_each_statement_is_explained() -> None:
    table = PAGE.read_text().partition("\n## Permissions\n")[2].partition("\n## ")[0]
    named = re.findall(r"^\| `(\w+)`", table, re.MULTILINE)
    assert [name for name in named if name[0].isupper()] == [one["Sid"] for one in DOCUMENT["Statement"]]


def make_cluster(lab: ServedLab) -> AWSCluster:
    return lab.cluster(use_public=True, factories_timeout=0, orchestrator_timeout=1)


def create(lab: ServedLab) -> None:
    make_cluster(lab).aws.create(observer=lambda _event: None, created=[])


def plan(lab: ServedLab) -> tuple[str, ...]:
    return make_cluster(lab).aws.plan().notes


def down(lab: ServedLab) -> None:
    make_cluster(lab).aws.terminate()


def stop_all(lab: ServedLab) -> None:
    for instance in lab.cloud.instances():
        if instance.state == "running":
            lab.fleet.stop(instance)


def suspend(lab: ServedLab) -> None:
    make_cluster(lab).aws.suspend(observer=lambda _event: None)


def make_own(lab: ServedLab, source: str = "203.0.113.0/24") -> AWSCluster:
    """Make a cluster with its own security group and key pair."""
    absent = dict.fromkeys(("key", "key_name", "security_group", "subnet_id"))
    return lab.cluster(name="own", ssh_sources=[source], **absent)


def create_own(lab: ServedLab) -> None:
    make_own(lab).aws.create(observer=lambda _event: None, created=[])


def move(lab: ServedLab) -> None:
    """Launch from another address, which replaces a rule."""
    make_own(lab, "198.51.100.0/24").aws.create(observer=lambda _event: None, created=[])


def down_own(lab: ServedLab) -> None:
    make_own(lab).aws.terminate()


def bake(lab: ServedLab) -> None:
    """Make an image of a stopped host, as ``bake`` does, and remove it."""
    cluster = make_cluster(lab)
    cluster.aws.create(observer=lambda _event: None, created=[])
    cluster.aws.suspend(observer=lambda _event: None)
    head = cluster.aws.find_existing().orchestrator
    assert head
    name, tags = f"image of {head.id}", {**cluster._tags.common, RECIPE: "r"}
    baked.create(cluster.clients.sender, head.id, name=name, description="", tags=tags)
    for one in baked.find_all(cluster.clients.ec2, recipe="r"):
        baked.remove(cluster.clients.ec2, one)


FLOWS: dict[str, Callable[[ServedLab], object]] = {
    "cloudwatch:DescribeAlarms": create,
    "cloudwatch:PutMetricAlarm": create,
    "cloudwatch:DeleteAlarms": down,
    "ec2:AuthorizeSecurityGroupIngress": create_own,
    "ec2:CreateImage": bake,
    "ec2:CreateSecurityGroup": create_own,
    "ec2:CreateTags": plan,
    "ec2:DeleteKeyPair": down_own,
    "ec2:DeleteSecurityGroup": down_own,
    "ec2:DeleteSnapshot": bake,
    "ec2:DeregisterImage": bake,
    "ec2:DescribeImages": plan,
    "ec2:DescribeInstanceTypeOfferings": plan,
    "ec2:DescribeInstanceTypes": plan,
    "ec2:DescribeInstances": plan,
    "ec2:DescribeKeyPairs": plan,
    "ec2:DescribeSecurityGroups": plan,
    "ec2:DescribeSubnets": plan,
    "ec2:DescribeVolumes": create,
    "ec2:ImportKeyPair": create_own,
    "ec2:RevokeSecurityGroupIngress": move,
    "ec2:RunInstances": plan,
    "ec2:StartInstances": create,
    "ec2:StopInstances": suspend,
    "ec2:TerminateInstances": down,
    "iam:CreateServiceLinkedRole": create,
}


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedLab]:
    with serve(tmp_path_factory.mktemp("lab"), policy=ec2.POLICY.read_text()) as served:
        served.gate._throttle.check = lambda _operation: None  # type: ignore[method-assign]
        yield served


@pytest.fixture
def lab(shared: ServedLab, no_pauses: None) -> Iterator[ServedLab]:
    """Return the lab with an empty account, in which the documented policy applies."""
    yield shared
    allow_without(shared)
    alive = any(one.state != "terminated" for one in shared.cloud.instances())
    if alive or len(shared.cloud.ec2.key_pairs) > 1:
        down(shared)
        down_own(shared)
    for instance in list(shared.cloud.instances()):
        shared.cloud.forget(instance)
    shared.cloud.linked_role = shared.cloud.spot_role = False


def allow_without(lab: ServedLab, action: str = "") -> None:
    """Apply the documented policy without one action."""
    document = {**DOCUMENT, "Statement": [dict(one) for one in DOCUMENT["Statement"]]}
    for statement in document["Statement"]:
        statement["Action"] = [one for one in list_actions(statement) if one != action]
    lab.gate._guard = Guard(lab.cloud, policies.parse(json.dumps(document)))


def test_every_action_has_a_flow() -> None:
    assert sorted([*FLOWS, *DEGRADED, *ELSEWHERE, "sts:DecodeAuthorizationMessage"]) == ACTIONS


@pytest.mark.parametrize("action", FLOWS)
def test_the_flows_need_each_action_and_no_other(lab: ServedLab, action: str) -> None:
    allow_without(lab)
    if action in ("cloudwatch:DeleteAlarms", "ec2:StartInstances", "ec2:StopInstances", "ec2:TerminateInstances"):
        create(lab)
    if FLOWS[action] in (down_own, move):
        create_own(lab)
    if action == "ec2:StartInstances":
        stop_all(lab)
    allow_without(lab, action)
    with pytest.raises(AWSError) as caught:
        FLOWS[action](lab)
    assert caught.value.code in DENIED
    assert action in caught.value.reason
    allow_without(lab)
    FLOWS[action](lab)


def read_origin(lab: ServedLab) -> object:
    return [host.image_name for host in make_cluster(lab).aws.plan().hosts]


def read_keys(lab: ServedLab) -> object:
    cluster = make_cluster(lab)
    [head, *_] = cluster.aws.create(observer=lambda _event: None, created=[])
    return cluster.aws.host_keys(head)


def read_prices(lab: ServedLab) -> object:
    return make_cluster(lab).aws.costs.book.find_instance("t3.small", region="us-east-1").source


def read_spot_prices(lab: ServedLab) -> object:
    return make_cluster(lab).aws.costs.book.find_instance("t3.small", region="us-east-1", spot=True)


def find_role(lab: ServedLab) -> object:
    cluster = make_cluster(lab)
    return examine_alarms(cluster.clients, cluster.aws.build_alarm_of(alarms.NO_INSTANCE, 5))


def audit(lab: ServedLab) -> object:
    return list_tagged(make_cluster(lab).clients).denied


# Flows that go on without their action, with another result.
DEGRADED: dict[str, Callable[[ServedLab], object]] = {
    "ec2:DescribeRouteTables": plan,
    "ec2:DescribeSnapshots": audit,
    "ec2:DescribeSpotInstanceRequests": audit,
    "ec2:DescribeSpotPriceHistory": read_spot_prices,
    "iam:GetRole": find_role,
    "pricing:GetProducts": read_prices,
    "servicequotas:GetAWSDefaultServiceQuota": plan,
    "servicequotas:GetServiceQuota": plan,
    "ec2:GetConsoleOutput": read_keys,
    "ssm:GetParameter": read_origin,
}


@pytest.mark.parametrize("action", DEGRADED)
def test_optional_actions_change_the_result(lab: ServedLab, action: str) -> None:
    allow_without(lab)
    route_to_the_internet(lab)
    with_it = DEGRADED[action](lab)
    allow_without(lab, action)
    (state_root() / CACHE).unlink(missing_ok=True)
    assert DEGRADED[action](lab) != with_it


def route_to_the_internet(lab: ServedLab) -> None:
    backend = lab.cloud.ec2
    if not backend.internet_gateways:
        vpc = backend.default_vpc.id
        gateway = backend.create_internet_gateway()
        backend.attach_internet_gateway(gateway.id, vpc)
        table = next(one for one in backend.route_tables.values() if one.vpc_id == vpc)
        backend.create_route(table.id, "0.0.0.0/0", gateway_id=gateway.id)


@pytest.mark.parametrize("action", ELSEWHERE)
def test_actions_of_others_are_allowed_by_one_statement(action: str) -> None:
    need = ELSEWHERE[action]
    assert policies.parse(json.dumps(DOCUMENT)).explain_denial(need) == ""
    less = {
        "Statement": [
            {**one, "Action": [name for name in list_actions(one) if name != action]} for one in DOCUMENT["Statement"]
        ]
    }
    assert policies.parse(json.dumps(less)).explain_denial(need)


def test_the_decoding_of_denials_is_allowed(lab: ServedLab) -> None:
    allow_without(lab, "ec2:RunInstances")
    with pytest.raises(AWSError) as caught:
        plan(lab)
    encoded = re.search(r"--encoded-message (\S+)", caught.value.hint or "")
    assert encoded
    decode = lab.client("sts").decode_authorization_message
    assert "ec2:RunInstances" in decode(EncodedMessage=encoded[1])["DecodedMessage"]
    allow_without(lab, "sts:DecodeAuthorizationMessage")
    with pytest.raises(lab.client("sts").exceptions.ClientError, match="AccessDenied"):
        decode(EncodedMessage=encoded[1])


def test_spot_instances_are_allowed_and_the_first_one_needs_a_role(lab: ServedLab) -> None:
    """https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/service-linked-roles-spot-instance-requests.html."""
    allow_without(lab)
    cluster = lab.cluster(factories_spot=True, factories_timeout=-1)
    allow_without(lab, "iam:CreateServiceLinkedRole")
    with pytest.raises(AWSError) as caught:
        cluster.aws.plan()
    assert caught.value.code == "AuthFailure.ServiceLinkedRoleCreationNotPermitted"
    assert "--aws-service-name spot.amazonaws.com" in (caught.value.hint or "")
    allow_without(lab)
    cluster.aws.create(observer=lambda _event: None, created=[])
    allow_without(lab, "iam:CreateServiceLinkedRole")  # the role exists
    lab.cluster(factories_spot=True, factories_timeout=-1, factories_num=3).aws.create(
        observer=lambda _event: None, created=[]
    )


def test_instances_of_others_are_safe(lab: ServedLab) -> None:
    allow_without(lab)
    create(lab)
    for instance in lab.cloud.instances():
        lab.cloud.ec2.tags[instance.id]["Purpose"] = "other"
        with pytest.raises(lab.client().exceptions.ClientError, match="UnauthorizedOperation"):
            lab.client().terminate_instances(InstanceIds=[instance.id])
        lab.cloud.ec2.tags[instance.id]["Purpose"] = "flambe"


def test_hosts_without_the_tag_are_not_created(lab: ServedLab) -> None:
    allow_without(lab)
    request = {"ImageId": lab.cloud.image_id, "InstanceType": "t3.small", "MinCount": 1, "MaxCount": 1}
    with pytest.raises(lab.client().exceptions.ClientError, match="UnauthorizedOperation"):
        lab.client().run_instances(**request, SubnetId=lab.cloud.subnet_id)
