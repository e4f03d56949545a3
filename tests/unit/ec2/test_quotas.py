"""Quotas for vCPUs."""

from __future__ import annotations

import boto3
import pytest
from botocore.stub import Stubber

from flambe_ansible.ec2 import families, quotas
from tests.unit.ec2.support import Account


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        ("t3.large", "L-1216C47A"), ("m7i-flex.large", "L-1216C47A"), ("c5n.xlarge", "L-1216C47A"),
        ("d3.xlarge", "L-1216C47A"), ("im4gn.large", "L-1216C47A"), ("i3.metal", "L-1216C47A"),
        ("g4dn.xlarge", "L-DB2E81BA"), ("gr6.4xlarge", "L-DB2E81BA"), ("vt1.3xlarge", "L-DB2E81BA"),
        ("p4d.24xlarge", "L-417A185B"), ("f1.2xlarge", "L-74FC7D96"), ("x1e.xlarge", "L-7295265B"),
        ("inf2.xlarge", "L-1945791B"), ("trn1.2xlarge", "L-2C3B7624"), ("dl1.24xlarge", "L-6E869C2A"),
        ("hpc6a.48xlarge", "L-F7808C92"), ("u-6tb1.56xlarge", "L-43DA4232"), ("u7i-12tb.224xlarge", "L-43DA4232"),
        ("mac1.metal", None), ("", None), ("large", None),
    ],
)  # fmt: skip
def test_the_quota_of_a_type(kind: str, code: str | None) -> None:
    found = families.find_quota(kind)
    assert (found and found.code) == code


def test_an_account_without_its_own_value_has_the_default(account: Account) -> None:
    """https://docs.aws.amazon.com/servicequotas/2019-06-24/apireference/API_GetServiceQuota.html."""
    client = boto3.client("service-quotas", region_name="eu-west-1")
    with Stubber(client) as stub:
        stub.add_client_error("get_service_quota", "NoSuchResourceException", http_status_code=400)
        stub.add_response("get_aws_default_service_quota", {"Quota": {"Value": 5.0}})
        (usage,) = quotas.measure(account.ec2, client, {"t3.large": 2})
        assert (usage.limit, usage.running, usage.wanted, usage.fits) == (5, 0, 4, True)
        stub.add_client_error("get_service_quota", "NoSuchResourceException", http_status_code=400)
        stub.add_client_error("get_aws_default_service_quota", "NoSuchResourceException", http_status_code=400)
        assert quotas.measure(account.ec2, client, {"t3.large": 2}) == []
