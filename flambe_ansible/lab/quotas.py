"""The quotas of the lab's account for the vCPUs of running instances.

A quota that was set for the lab is the account's own; the others have a default that no lab reaches.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from flambe_ansible.ec2.families import COUNTED_STATES, QUOTAS, SPOT_QUOTAS, Quota, find_quota
from flambe_ansible.errors import LabUsageError
from flambe_ansible.lab.answers import Answer, RefusedError
from flambe_ansible.lab.cloud import ACCOUNT, REGION, Cloud

DEFAULT = 10_000  # vCPUs

Quotas = Sequence[tuple[str, int]]  # codes with values


def parse(texts: Iterable[str]) -> tuple[tuple[str, int], ...]:
    """Parse quotas such as ``L-DB2E81BA=0``.

    Raises:
        LabUsageError: A text is not a quota.
    """
    known = {one.code: one.name for one in (*QUOTAS, *SPOT_QUOTAS)}
    found: dict[str, int] = {}
    for text in texts:
        code, _, value = text.partition("=")
        if code not in known or not value.isdecimal():
            codes = ", ".join(f"{code} ({name})" for code, name in known.items())
            raise LabUsageError(f"{text!r} is not a quota; expected CODE=VCPUS", hint=f"the codes: {codes}")
        found[code] = int(value)
    return tuple(found.items())


def answer(quotas: Quotas, operation: str, parameters: Mapping[str, Any]) -> Answer:
    """Answer a request to Service Quotas.

    https://docs.aws.amazon.com/servicequotas/2019-06-24/apireference/API_GetServiceQuota.html
    """
    own, code = dict(quotas), str(parameters.get("QuotaCode", ""))
    known = {one.code: one for one in (*QUOTAS, *SPOT_QUOTAS)} if parameters.get("ServiceCode") == "ec2" else {}
    values = {"GetServiceQuota": own.get(code), "GetAWSDefaultServiceQuota": DEFAULT}
    if operation not in values:
        raise RefusedError("UnsupportedOperation", f"The lab does not offer {operation}")
    value = values[operation]
    if code not in known or value is None:
        raise RefusedError("NoSuchResourceException", "The request failed because the specified quota does not exist")
    document = {
        "ServiceCode": "ec2",
        "ServiceName": "Amazon Elastic Compute Cloud (Amazon EC2)",
        "QuotaArn": f"arn:aws:servicequotas:{REGION}:{ACCOUNT}:ec2/{code}",
        "QuotaCode": code,
        "QuotaName": known[code].name,
        "Value": float(value),
        "Unit": "None",
        "Adjustable": True,
        "GlobalQuota": False,
    }
    return Answer(200, "application/x-amz-json-1.1", json.dumps({"Quota": document}).encode())


def limit(cloud: Cloud, quotas: Quotas, kind: str, *, least: int, most: int, spot: bool = False) -> int:
    """Return how many of the instances of a type the quota allows; refuse fewer than ``least``.

    https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html (VcpuLimitExceeded,
    MaxSpotInstanceCountExceeded)
    """
    quota = find_quota(kind, spot=spot)
    if quota is None:
        return most
    value = dict(quotas).get(quota.code, DEFAULT)
    room = (value - _count_vcpus(cloud, quota, spot=spot)) // max(_find_vcpus(cloud, kind), 1)
    if room < least and spot:
        raise RefusedError("MaxSpotInstanceCountExceeded", "Max spot instance count exceeded")
    if room < least:
        raise RefusedError(
            "VcpuLimitExceeded",
            f"You have requested more vCPU capacity than your current vCPU limit of {value} allows for the instance "
            "bucket that the specified instance type belongs to. Please visit "
            "http://aws.amazon.com/contact-us/ec2-request to request an adjustment to this limit.",
        )
    return min(most, room)


def check_start(cloud: Cloud, quotas: Quotas, starting: Iterable[Any]) -> None:
    """Refuse to start instances if their quota does not allow it."""
    kinds = [instance.instance_type for instance in starting]
    for kind in dict.fromkeys(kinds):
        limit(cloud, quotas, kind, least=kinds.count(kind), most=len(kinds))


def _count_vcpus(cloud: Cloud, quota: Quota, *, spot: bool) -> int:
    running = [one for one in cloud.instances() if one.state in COUNTED_STATES and (one.lifecycle == "spot") is spot]
    kinds = [one.instance_type for one in running]
    return sum(_find_vcpus(cloud, kind) for kind in kinds if find_quota(kind, spot=spot) == quota)


def _find_vcpus(cloud: Cloud, kind: str) -> int:
    known = cloud.ec2.describe_instance_types(filters={"instance-type": [kind]})
    return int(known[0]["VCpuInfo"]["DefaultVCpus"]) if known else 0
