"""The lab's quotas and its role for alarms, and the public parameters of images."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest

from flambe_ansible.ec2.alarms import ROLE
from flambe_ansible.errors import LabUsageError
from flambe_ansible.lab import gate, quotas, roles
from flambe_ansible.lab.answers import RefusedError

FRESH = quotas.parse(["L-1216C47A=5", "L-DB2E81BA=0"])  # a new account
VCPUS = {"t3.small": 2, "m5.xlarge": 4, "g4dn.xlarge": 4}


def make_cloud(*instances: tuple[str, str], linked_role: bool = False) -> Any:
    """Make an account with instances of these types and states."""

    def describe(filters: dict[str, list[str]]) -> list[dict[str, Any]]:
        (kind,) = filters["instance-type"]
        return [{"VCpuInfo": {"DefaultVCpus": VCPUS[kind]}}] if kind in VCPUS else []

    made = [SimpleNamespace(instance_type=kind, state=state, lifecycle=None) for kind, state in instances]
    ec2 = SimpleNamespace(describe_instance_types=describe)
    return SimpleNamespace(instances=lambda: made, ec2=ec2, linked_role=linked_role)


@pytest.mark.parametrize("text", ["L-1216C47A", "L-1216C47A=", "L-1216C47A=-1", "L-1216C47A=x", "G=0", "=1"])
def test_other_quotas_are_refused(text: str) -> None:
    with pytest.raises(LabUsageError, match="expected CODE=VCPUS") as caught:
        quotas.parse([text])
    assert "L-DB2E81BA (Running On-Demand G and VT instances)" in (caught.value.hint or "")


def test_instances_beyond_the_quota_are_refused() -> None:
    """https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html, VcpuLimitExceeded."""
    cloud = make_cloud(("t3.small", "running"), ("m5.xlarge", "stopped"), ("t3.small", "terminated"))
    assert quotas.limit(cloud, FRESH, "t3.small", least=1, most=5) == 1
    with pytest.raises(RefusedError, match="your current vCPU limit of 5 allows") as caught:
        quotas.limit(cloud, FRESH, "t3.small", least=2, most=5)
    assert caught.value.code == "VcpuLimitExceeded"
    with pytest.raises(RefusedError, match="your current vCPU limit of 0 allows"):
        quotas.limit(cloud, FRESH, "g4dn.xlarge", least=1, most=1)
    assert quotas.limit(cloud, (), "g4dn.xlarge", least=1, most=8) == 8
    assert quotas.limit(cloud, FRESH, "mac1.metal", least=1, most=2) == 2


def test_stopped_instances_beyond_the_quota_do_not_start() -> None:
    cloud = make_cloud(("t3.small", "running"))
    quotas.check_start(cloud, FRESH, [SimpleNamespace(instance_type="t3.small", lifecycle="")])
    with pytest.raises(RefusedError, match="vCPU limit of 5"):
        quotas.check_start(cloud, FRESH, [SimpleNamespace(instance_type="t3.small", lifecycle="")] * 2)


def test_service_quotas_answers_with_own_values_and_defaults() -> None:
    asked = {"ServiceCode": "ec2", "QuotaCode": "L-DB2E81BA"}
    answer = json.loads(quotas.answer(FRESH, "GetServiceQuota", asked).body)["Quota"]
    assert (answer["Value"], answer["QuotaName"]) == (0.0, "Running On-Demand G and VT instances")
    other = {**asked, "QuotaCode": "L-417A185B"}
    with pytest.raises(RefusedError) as caught:
        quotas.answer(FRESH, "GetServiceQuota", other)
    assert caught.value.code == "NoSuchResourceException"
    assert json.loads(quotas.answer(FRESH, "GetAWSDefaultServiceQuota", other).body)["Quota"]["Value"] == 10_000.0
    for wrong in ({**asked, "ServiceCode": "vpc"}, {**asked, "QuotaCode": "L-0"}):
        with pytest.raises(RefusedError, match="does not exist"):
            quotas.answer(FRESH, "GetAWSDefaultServiceQuota", wrong)


def test_the_role_of_alarms_exists_after_the_first_alarm() -> None:
    """https://docs.aws.amazon.com/IAM/latest/APIReference/API_GetRole.html."""
    with pytest.raises(RefusedError, match="cannot be found") as caught:
        roles.answer(make_cloud(), "GetRole", {"RoleName": ROLE})
    assert caught.value.code == "NoSuchEntity"
    cloud = make_cloud(linked_role=True)
    assert f"<RoleName>{ROLE}</RoleName>".encode() in roles.answer(cloud, "GetRole", {"RoleName": ROLE}).body
    with pytest.raises(RefusedError, match="cannot be found"):
        roles.answer(cloud, "GetRole", {"RoleName": "other"})


@pytest.mark.parametrize(
    ("name", "published"),
    [
        ("canonical/ubuntu/server/24.04/stable/current/amd64/hvm/ebs-gp3/ami-id", True),
        ("canonical/ubuntu/server/24.04/stable/current/amd64/hvm/ebs-gp2/ami-id", False),
        ("canonical/ubuntu/server/22.04/stable/current/amd64/hvm/ebs-gp2/ami-id", True),
        ("canonical/ubuntu/server/22.04/stable/current/amd64/hvm/ebs-gp3/ami-id", False),
        ("canonical/ubuntu/server/24.04/stable/current/arm64/hvm/ebs-gp3/ami-id", False),
        ("deeplearning/ami/x86_64/base-oss-nvidia-driver-gpu-ubuntu-22.04/latest/ami-id", True),
    ],
)
def test_the_public_parameters_of_images(name: str, published: bool) -> None:
    """https://documentation.ubuntu.com/aws/aws-how-to/instances/find-ubuntu-images/."""
    assert bool(gate._PUBLIC_IMAGES.fullmatch(f"/aws/service/{name}")) is published
