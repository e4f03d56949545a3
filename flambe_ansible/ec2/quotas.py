"""Compare an account's quotas for running vCPUs with what a launch needs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from flambe_ansible.ec2 import api
from flambe_ansible.ec2.errors import is_denied
from flambe_ansible.ec2.families import COUNTED_STATES, Quota, find_quota
from flambe_ansible.errors import AWSError
from flambe_ansible.findings import Finding, make_problem
from flambe_ansible.hosts import Role

if TYPE_CHECKING:
    from mypy_boto3_ec2.client import EC2Client

    from flambe_ansible.ec2.launching import SettingNames

CHECK = "vCPU quota"
PERMISSIONS = "servicequotas:GetServiceQuota and servicequotas:GetAWSDefaultServiceQuota"
NO_QUOTA = "NoSuchResourceException"  # the account has the default value, or there is no such quota


@dataclass(frozen=True, kw_only=True)
class Usage:
    """The use of one quota, in vCPUs.

    Attributes:
        quota: The quota.
        limit: Its value.
        running: What instances use now.
        wanted: What more is wanted.
    """

    quota: Quota
    limit: int
    running: int
    wanted: int

    @property
    def fits(self) -> bool:
        """Whether the quota is large enough for what is wanted."""
        return not self.wanted or self.running + self.wanted <= self.limit

    def __str__(self) -> str:
        used = f"{self.running} in use, {self.wanted} more needed"
        return f"quota {self.quota.code} ({self.quota.name}) is {self.limit} vCPUs: {used}"


@dataclass(frozen=True, kw_only=True)
class Demand:
    """The hosts that a launch creates and starts.

    Attributes:
        counts: The number of hosts to create, by role.
        starting: The types of the stopped hosts that are started.
        ending: The ids of instances that are terminated before.
    """

    counts: Mapping[Role, int]
    starting: tuple[str, ...] = ()
    ending: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        """Return whether any host is created or started."""
        return bool(self.counts or self.starting)


def measure(
    ec2: EC2Client,
    service_quotas: Any,
    wanted: Mapping[str, int],
    *,
    ending: Collection[str] = (),
    spot: bool = False,
) -> list[Usage]:
    """Return the use of each quota that the wanted hosts count towards.

    Args:
        ec2: The client of EC2.
        service_quotas: The client of Service Quotas.
        wanted: The number of hosts to create or start, by instance type; unknown types are ignored.
        ending: The ids of running instances that are terminated before.
        spot: Whether the hosts are Spot Instances, which have quotas of their own.

    Raises:
        AWSError: A value cannot be read, for example since the permission is missing.
    """
    find = partial(find_quota, spot=spot)
    quotas = dict.fromkeys(filter(None, map(find, wanted)))
    limits = {quota: limit for quota in quotas if (limit := _read_limit(service_quotas, quota)) is not None}
    if not limits:
        return []
    running = _count_running(ec2, ending, spot=spot)
    vcpus = {
        str(info.get("InstanceType")): info.get("VCpuInfo", {}).get("DefaultVCpus", 0)
        for info in api.find_instance_types(ec2, sorted({*wanted, *filter(find, running)}))
    }

    def add(counts: Mapping[str, int], quota: Quota) -> int:
        return sum(vcpus.get(kind, 0) * count for kind, count in counts.items() if find(kind) == quota)

    return [
        Usage(quota=quota, limit=limit, running=add(running, quota), wanted=add(wanted, quota))
        for quota, limit in limits.items()
    ]


def check(
    ec2: EC2Client,
    service_quotas: Any,
    types: Mapping[Role, Sequence[str]],
    demand: Demand,
    *,
    names: SettingNames,
    spot: Collection[Role] = (),
    flexible: Collection[Role] = (),
) -> list[Finding]:
    """Compare the quotas with what the hosts need; the permission to read the quotas is optional.

    Args:
        ec2: The client of EC2.
        service_quotas: The client of Service Quotas.
        types: The instance types of each role, in order; the first one is compared.
        demand: The hosts to create and start.
        names: The caller's names of the settings, for messages.
        spot: The roles of Spot Instances; hosts that are started again are none.
        flexible: The roles for which a quota that is too small is no problem: fewer or other hosts are accepted.
    """
    findings: list[Finding] = []
    for is_spot in (False, True):
        wanted = Counter(() if is_spot else demand.starting)
        roles = [role for role in demand.counts if (role in spot) is is_spot]
        for role in roles:
            wanted[types[role][0]] += demand.counts[role]
        if not wanted:
            continue
        try:
            found = measure(ec2, service_quotas, wanted, ending=demand.ending, spot=is_spot)
        except AWSError as error:
            return [*findings, note_unread(error)]
        for usage in found:
            fields = {
                role: names.types[role] for role in roles if find_quota(types[role][0], spot=is_spot) == usage.quota
            }
            findings.append(_judge(usage, ec2.meta.region_name, fields, flexible))
    return findings


def note_unread(error: AWSError) -> Finding:
    """Make the finding of quotas that cannot be read."""
    reason = "these credentials may not read them" if is_denied(error) else error.message
    note = f"the vCPU quotas of this account were not compared: {reason}"
    return Finding(check=CHECK, notes=(note,), remedy=f"allow {PERMISSIONS} (docs/aws.md)")


def _judge(usage: Usage, region: str, fields: Mapping[Role, str], flexible: Collection[Role]) -> Finding:
    """Make the finding about one quota; ``fields`` has the settings of the new hosts that count towards it, by role."""
    if usage.fits:
        return Finding(check=CHECK, fact=str(usage))
    if fields and set(fields) <= set(flexible):
        note = f"in {region}, {usage}: fewer hosts or the next type will be used"
        return Finding(check=CHECK, notes=(note,), remedy=request_increase(usage, region))
    expected = f"fewer or smaller hosts, or a higher quota, requested days before: {request_increase(usage, region)}"
    field = next(reversed(list(fields.values())), "")
    return Finding(check=CHECK, problems=(make_problem(field, f"in {region}, {usage}", expected=expected),))


def request_increase(usage: Usage, region: str, *, more: int = 0) -> str:
    """Return the command that requests the quota that is needed, or more."""
    return (
        f"aws service-quotas request-service-quota-increase --region {region} --service-code ec2 "
        f"--quota-code {usage.quota.code} --desired-value {usage.running + usage.wanted + more}"
    )


def _read_limit(service_quotas: Any, quota: Quota) -> int | None:
    """Read the value of a quota: the account's own, else AWS's default; None if the region does not have it."""
    for read in (api.get_service_quota, api.get_default_service_quota):
        try:
            return int(read(service_quotas, quota.code))
        except AWSError as error:
            if error.code != NO_QUOTA:
                raise
    return None


def _count_running(ec2: EC2Client, ending: Collection[str], *, spot: bool) -> dict[str, int]:
    """Count the account's On-Demand or Spot Instances by type."""
    counts: dict[str, int] = {}
    for one in api.describe_instances(ec2, {"instance-state-name": COUNTED_STATES}):
        if one["InstanceId"] in ending or (one.get("InstanceLifecycle") == "spot") is not spot:
            continue
        kind = str(one.get("InstanceType", ""))
        counts[kind] = counts.get(kind, 0) + 1
    return counts
