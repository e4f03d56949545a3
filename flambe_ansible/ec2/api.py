"""The calls to AWS, one function each; each raises ``AWSError`` if its call fails.

Lists are complete: the functions read all pages.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from flambe_ansible.ec2.errors import aws_call
from flambe_ansible.ec2.pacing import Pace

if TYPE_CHECKING:
    from mypy_boto3_cloudwatch.client import CloudWatchClient
    from mypy_boto3_cloudwatch.type_defs import MetricAlarmTypeDef
    from mypy_boto3_ec2.client import EC2Client
    from mypy_boto3_ec2.type_defs import (
        ImageTypeDef,
        InstanceTypeDef,
        InstanceTypeInfoTypeDef,
        IpPermissionTypeDef,
        KeyPairInfoTypeDef,
        RouteTableTypeDef,
        SecurityGroupTypeDef,
        SnapshotTypeDef,
        SpotInstanceRequestTypeDef,
        SubnetTypeDef,
        TagTypeDef,
        VolumeTypeDef,
    )
    from mypy_boto3_ssm.client import SSMClient

Filters = Mapping[str, Sequence[str]]

ALARMS_PER_CALL = 100  # the limit of DeleteAlarms and DescribeAlarms
TYPES_PER_CALL = 100  # the limit of DescribeInstanceTypes
IDS_PER_CALL = 1000  # the limit of CreateTags, StartInstances and TerminateInstances

# CloudWatch allows three calls of each a second, in an account and region.
# https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/cloudwatch_limits.html
_PUT_ALARM_PACE = Pace(3)
_DELETE_ALARMS_PACE = Pace(3)
# CreateTags has a bucket of 100 calls, which is filled with 10 a second, in an account and region.
# https://docs.aws.amazon.com/ec2/latest/devguide/ec2-api-throttling.html
_CREATE_TAGS_PACE = Pace(100, seconds=10.0)


@aws_call("find instances")
def describe_instances(ec2: EC2Client, filters: Filters) -> list[InstanceTypeDef]:
    """Return the instances that match all filters; unknown ids are left out."""
    pages = ec2.get_paginator("describe_instances").paginate(Filters=_build_filters(filters))
    return [instance for page in pages for group in page["Reservations"] for instance in group.get("Instances", [])]


@aws_call("create instances")
def run_instances(ec2: EC2Client, request: Mapping[str, Any]) -> list[InstanceTypeDef]:
    """Create instances, and return their state right after the call."""
    return ec2.run_instances(**request)["Instances"]


@aws_call("start instances")
def start_instances(ec2: EC2Client, ids: Sequence[str]) -> None:
    """Start stopped instances."""
    for chunk in _split(ids, IDS_PER_CALL):
        ec2.start_instances(InstanceIds=chunk)


@aws_call("stop instances")
def stop_instances(ec2: EC2Client, ids: Sequence[str]) -> None:
    """Stop running instances; their EBS volumes stay.

    https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_StopInstances.html
    """
    for chunk in _split(ids, IDS_PER_CALL):
        ec2.stop_instances(InstanceIds=chunk)


@aws_call("terminate instances")
def terminate_instances(ec2: EC2Client, ids: Sequence[str]) -> None:
    """Terminate instances."""
    for chunk in _split(ids, IDS_PER_CALL):
        ec2.terminate_instances(InstanceIds=chunk)


@aws_call("tag instances and volumes")
def create_tags(ec2: EC2Client, resources: Sequence[str], tags: Mapping[str, str]) -> None:
    """Add tags to resources, or overwrite them."""
    pairs: list[TagTypeDef] = [{"Key": key, "Value": value} for key, value in tags.items()]
    for chunk in _split(resources, IDS_PER_CALL):
        _CREATE_TAGS_PACE.wait()
        ec2.create_tags(Resources=chunk, Tags=pairs)


@aws_call("find volumes")
def describe_volumes(ec2: EC2Client, filters: Filters) -> list[VolumeTypeDef]:
    """Return the volumes that match all filters."""
    pages = ec2.get_paginator("describe_volumes").paginate(Filters=_build_filters(filters))
    return [volume for page in pages for volume in page["Volumes"]]


@aws_call("find snapshots")
def describe_snapshots(ec2: EC2Client, filters: Filters) -> list[SnapshotTypeDef]:
    """Return the account's own snapshots that match all filters.

    https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DescribeSnapshots.html
    """
    pages = ec2.get_paginator("describe_snapshots").paginate(OwnerIds=["self"], Filters=_build_filters(filters))
    return [snapshot for page in pages for snapshot in page["Snapshots"]]


@aws_call("find spot requests")
def describe_spot_requests(ec2: EC2Client, filters: Filters) -> list[SpotInstanceRequestTypeDef]:
    """Return the spot requests that match all filters, also ended ones of the last hours.

    https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DescribeSpotInstanceRequests.html
    """
    pages = ec2.get_paginator("describe_spot_instance_requests").paginate(Filters=_build_filters(filters))
    return [request for page in pages for request in page["SpotInstanceRequests"]]


@aws_call("read the console of an instance")
def get_console_output(ec2: EC2Client, instance_id: str, *, latest: bool) -> str:
    """Return an instance's console output; only instances on Nitro support ``latest``."""
    request: dict[str, Any] = {"Latest": True} if latest else {}
    return ec2.get_console_output(InstanceId=instance_id, **request).get("Output", "")


@aws_call("read images")
def describe_images(ec2: EC2Client, ids: Sequence[str]) -> list[ImageTypeDef]:
    """Return the images with these ids."""
    return ec2.describe_images(ImageIds=list(ids))["Images"]


@aws_call("find images")
def find_images(ec2: EC2Client, owner: str, filters: Filters) -> list[ImageTypeDef]:
    """Return the images of one owner that match all filters."""
    pages = ec2.get_paginator("describe_images").paginate(Owners=[owner], Filters=_build_filters(filters))
    return [image for page in pages for image in page["Images"]]


@aws_call("read the subnet")
def describe_subnet(ec2: EC2Client, subnet_id: str) -> SubnetTypeDef:
    """Return a subnet."""
    return ec2.describe_subnets(SubnetIds=[subnet_id])["Subnets"][0]


@aws_call("find the default subnets")
def find_default_subnets(ec2: EC2Client) -> list[SubnetTypeDef]:
    """Return the available default subnets: at most one in each zone, all in the default VPC.

    https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DescribeSubnets.html (default-for-az)
    """
    return find_subnets(ec2, {"default-for-az": ["true"]})


@aws_call("find subnets")
def find_subnets(ec2: EC2Client, filters: Filters | None = None) -> list[SubnetTypeDef]:
    """Return the available subnets that match all filters.

    https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DescribeSubnets.html
    """
    wanted = {**(filters or {}), "state": ["available"]}
    pages = ec2.get_paginator("describe_subnets").paginate(Filters=_build_filters(wanted))
    return [subnet for page in pages for subnet in page["Subnets"]]


@aws_call("read the route tables")
def describe_route_tables(ec2: EC2Client, filters: Filters) -> list[RouteTableTypeDef]:
    """Return the route tables that match all filters."""
    pages = ec2.get_paginator("describe_route_tables").paginate(Filters=_build_filters(filters))
    return [table for page in pages for table in page["RouteTables"]]


@aws_call("read the security group")
def describe_security_group(ec2: EC2Client, group_id: str) -> SecurityGroupTypeDef:
    """Return a security group."""
    return ec2.describe_security_groups(GroupIds=[group_id])["SecurityGroups"][0]


@aws_call("find security groups")
def find_security_groups(ec2: EC2Client, filters: Filters) -> list[SecurityGroupTypeDef]:
    """Return the security groups that match all filters."""
    pages = ec2.get_paginator("describe_security_groups").paginate(Filters=_build_filters(filters))
    return [group for page in pages for group in page["SecurityGroups"]]


@aws_call("create a security group")
def create_security_group(ec2: EC2Client, request: Mapping[str, Any]) -> str:
    """Create a security group, and return its id."""
    return ec2.create_security_group(**request)["GroupId"]


@aws_call("add rules to the security group")
def authorize_ingress(ec2: EC2Client, group_id: str, rules: Sequence[IpPermissionTypeDef]) -> None:
    """Add inbound rules to a security group, all or none."""
    ec2.authorize_security_group_ingress(GroupId=group_id, IpPermissions=rules)


@aws_call("remove rules from the security group")
def revoke_ingress(ec2: EC2Client, group_id: str, rules: Sequence[IpPermissionTypeDef]) -> None:
    """Remove inbound rules from a security group."""
    ec2.revoke_security_group_ingress(GroupId=group_id, IpPermissions=rules)


@aws_call("delete the security group")
def delete_security_group(ec2: EC2Client, group_id: str) -> None:
    """Delete a security group that nothing uses."""
    ec2.delete_security_group(GroupId=group_id)


@aws_call("import a key pair")
def import_key_pair(ec2: EC2Client, request: Mapping[str, Any]) -> str:
    """Create a key pair from a public key, and return its id."""
    return ec2.import_key_pair(**request)["KeyPairId"]


@aws_call("delete the key pair")
def delete_key_pair(ec2: EC2Client, name: str) -> None:
    """Delete a key pair; an unknown name is ignored."""
    ec2.delete_key_pair(KeyName=name)


@aws_call("read the key pairs")
def describe_key_pairs(ec2: EC2Client) -> list[KeyPairInfoTypeDef]:
    """Return all key pairs of the region, with their public keys."""
    return ec2.describe_key_pairs(IncludePublicKey=True)["KeyPairs"]


@aws_call("read the instance type")
def describe_instance_type(ec2: EC2Client, instance_type: str) -> InstanceTypeInfoTypeDef:
    """Return the description of an instance type."""
    return ec2.describe_instance_types(InstanceTypes=[instance_type])["InstanceTypes"][0]  # type: ignore[list-item]


@aws_call("read the instance types")
def describe_instance_types(ec2: EC2Client, instance_types: Sequence[str]) -> list[InstanceTypeInfoTypeDef]:
    """Return the descriptions of existing instance types."""
    found: list[InstanceTypeInfoTypeDef] = []
    for chunk in _split(instance_types, TYPES_PER_CALL):
        found += ec2.describe_instance_types(InstanceTypes=chunk)["InstanceTypes"]  # type: ignore[arg-type]
    return found


@aws_call("find instance types")
def find_instance_types(ec2: EC2Client, instance_types: Sequence[str]) -> list[InstanceTypeInfoTypeDef]:
    """Return the descriptions of these instance types; unknown ones are left out."""
    found: list[InstanceTypeInfoTypeDef] = []
    for chunk in _split(instance_types, TYPES_PER_CALL):
        pages = ec2.get_paginator("describe_instance_types").paginate(Filters=_build_filters({"instance-type": chunk}))
        found += [info for page in pages for info in page["InstanceTypes"]]
    return found


@aws_call("read the instance types of a zone")
def list_offered_types(ec2: EC2Client, zone: str, instance_type: str = "") -> set[str]:
    """Return the instance types that a zone offers, all or (if offered) this one."""
    filters = {"location": [zone]} | ({"instance-type": [instance_type]} if instance_type else {})
    pages = ec2.get_paginator("describe_instance_type_offerings").paginate(
        LocationType="availability-zone", Filters=_build_filters(filters)
    )
    return {str(offer["InstanceType"]) for page in pages for offer in page["InstanceTypeOfferings"]}


@aws_call("find the zones of the instance types")
def find_offers(ec2: EC2Client, instance_types: Sequence[str]) -> dict[str, set[str]]:
    """Return which of these instance types each zone offers, by the zone's name.

    https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DescribeInstanceTypeOfferings.html
    """
    pages = ec2.get_paginator("describe_instance_type_offerings").paginate(
        LocationType="availability-zone", Filters=_build_filters({"instance-type": instance_types})
    )
    found: dict[str, set[str]] = {}
    for offer in (offer for page in pages for offer in page["InstanceTypeOfferings"]):
        found.setdefault(offer["Location"], set()).add(str(offer["InstanceType"]))
    return found


@aws_call("read a public parameter")
def get_parameter(ssm: SSMClient, name: str) -> str:
    """Return the value of an SSM parameter."""
    return ssm.get_parameter(Name=name)["Parameter"]["Value"]


@aws_call("read a quota")
def get_service_quota(quotas: Any, code: str) -> float:
    """Return the value of a quota of EC2 that was set for this account."""
    value: float = quotas.get_service_quota(ServiceCode="ec2", QuotaCode=code)["Quota"]["Value"]
    return value


@aws_call("read the default of a quota")
def get_default_service_quota(quotas: Any, code: str) -> float:
    """Return the value of a quota of EC2 for accounts without a value of their own."""
    value: float = quotas.get_aws_default_service_quota(ServiceCode="ec2", QuotaCode=code)["Quota"]["Value"]
    return value


@aws_call("read a role")
def has_role(iam: Any, name: str) -> bool:
    """Return whether the account has a role."""
    try:
        iam.get_role(RoleName=name)
    except iam.exceptions.NoSuchEntityException:
        return False
    return True


@aws_call("read the identity")
def get_identity(sts: Any) -> dict[str, Any]:
    """Return the answer about the caller, with its account; this needs no permission."""
    answer: dict[str, Any] = sts.get_caller_identity()
    return answer


@aws_call("set an alarm")
def put_metric_alarm(cloudwatch: CloudWatchClient, alarm: Mapping[str, Any]) -> None:
    """Create an alarm, or replace the one with the same name."""
    _PUT_ALARM_PACE.wait()
    cloudwatch.put_metric_alarm(**alarm)


@aws_call("remove alarms")
def delete_alarms(cloudwatch: CloudWatchClient, names: Sequence[str]) -> None:
    """Remove alarms; unknown names are ignored."""
    for chunk in _split(names, ALARMS_PER_CALL):
        _DELETE_ALARMS_PACE.wait()
        cloudwatch.delete_alarms(AlarmNames=chunk)


@aws_call("find alarms")
def find_alarms(cloudwatch: CloudWatchClient, prefix: str) -> list[MetricAlarmTypeDef]:
    """Return the alarms whose names have this prefix."""
    pages = cloudwatch.get_paginator("describe_alarms").paginate(
        AlarmNamePrefix=prefix, PaginationConfig={"PageSize": ALARMS_PER_CALL}
    )
    return [alarm for page in pages for alarm in page.get("MetricAlarms", [])]


@aws_call("read prices")
def get_products(pricing: Any, filters: Mapping[str, str]) -> list[str]:
    """Return the products of EC2 whose attributes match all filters, each as a JSON document.

    https://docs.aws.amazon.com/aws-cost-management/latest/APIReference/API_pricing_GetProducts.html
    """
    terms = [{"Type": "TERM_MATCH", "Field": name, "Value": value} for name, value in filters.items()]
    pages = pricing.get_paginator("get_products").paginate(
        ServiceCode="AmazonEC2", Filters=terms, FormatVersion="aws_v1"
    )
    return [product for page in pages for product in page["PriceList"]]


@aws_call("read spot prices")
def describe_spot_price_history(ec2: EC2Client, instance_type: str, *, now: datetime) -> dict[str, float]:
    """Return the current spot price (USD per hour) of a type in each zone of the region.

    With the same start and end, AWS returns the price at that time:
    https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DescribeSpotPriceHistory.html
    """
    request: dict[str, Any] = {"InstanceTypes": [instance_type], "ProductDescriptions": ["Linux/UNIX"]}
    pages = ec2.get_paginator("describe_spot_price_history").paginate(**request, StartTime=now, EndTime=now)
    found = [price for page in pages for price in page["SpotPriceHistory"]]
    latest = sorted(found, key=lambda price: price["Timestamp"])
    return {price["AvailabilityZone"]: float(price["SpotPrice"]) for price in latest}


def _split(values: Sequence[str], size: int) -> list[list[str]]:
    """Split values into lists of at most this size."""
    return [list(values[start : start + size]) for start in range(0, len(values), size)]


def _build_filters(filters: Filters) -> Any:
    return [{"Name": name, "Values": list(values)} for name, values in filters.items()]
