"""Helpers for the EC2 tests."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import boto3
from botocore.exceptions import ClientError
from moto.servicequotas.exceptions import NoSuchResource

from flambe_ansible.cluster.aws import AWSCluster
from flambe_ansible.ec2.families import QUOTAS, SPOT_QUOTAS
from tests.unit.keys import private_key, public_key

REGION = "eu-west-1"
SSH_RULE = {"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22, "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}
READING = ("Describe", "Get", "List")


@dataclass
class Account:
    """A fake AWS account with the resources that a cluster needs."""

    ec2: Any
    cloudwatch: Any
    arguments: dict[str, Any]
    quotas: dict[str, float] = field(default_factory=lambda: {one.code: 1000.0 for one in (*QUOTAS, *SPOT_QUOTAS)})

    @classmethod
    def make(cls, session: boto3.Session) -> Account:
        ec2 = session.client("ec2")
        subnet = ec2.describe_subnets()["Subnets"][0]
        group = ec2.create_security_group(GroupName="flambe", Description="flambe", VpcId=subnet["VpcId"])
        own = {"UserIdGroupPairs": [{"GroupId": group["GroupId"]}]}
        ec2.authorize_security_group_ingress(
            GroupId=group["GroupId"], IpPermissions=[SSH_RULE, {"IpProtocol": "-1", **own}]
        )
        ec2.import_key_pair(KeyName="work", PublicKeyMaterial=public_key(private_key()).encode())
        image = ec2.describe_images()["Images"][0]["ImageId"]
        return cls(
            ec2,
            session.client("cloudwatch"),
            {
                "name": "trial",
                "factories_num": 2,
                "factories_type": "t3.large",
                "orchestrator_type": "t3.small",
                "key_name": "work",
                "security_group": group["GroupId"],
                "subnet_id": subnet["SubnetId"],
                "creator": "ada@example.com",
                "key": "/nowhere/key.pem",
                "region_name": REGION,
                "orchestrator_ami": image,
                "factory_ami": image,
            },
        )

    def get_service_quota(self, service_code: str, quota_code: str) -> dict[str, Any]:
        """Answer for moto, which has no quotas of EC2."""
        if quota_code not in self.quotas:
            raise NoSuchResource
        return {"ServiceCode": service_code, "QuotaCode": quota_code, "Value": self.quotas[quota_code]}

    def instances(self, *states: str) -> list[dict[str, Any]]:
        """All instances in these states (live ones by default), by name."""
        selected = states or ("pending", "running", "stopping", "stopped")
        found = [one for group in self.ec2.describe_instances()["Reservations"] for one in group["Instances"]]
        return sorted((one for one in found if one["State"]["Name"] in selected), key=lambda one: tags_of(one)["Name"])

    def names(self, *states: str) -> list[str]:
        return [tags_of(one)["Name"] for one in self.instances(*states)]

    def alarms(self) -> dict[str, dict[str, Any]]:
        return {one["AlarmName"]: one for one in self.cloudwatch.describe_alarms()["MetricAlarms"]}


def tags_of(resource: Mapping[str, Any]) -> dict[str, str]:
    return {tag["Key"]: tag["Value"] for tag in resource.get("Tags", [])}


@dataclass
class Calls:
    """The API calls of one cluster, with their parameters."""

    made: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    @classmethod
    def of(cls, cluster: AWSCluster) -> Calls:
        calls = cls()
        for service in ("ec2", "cloudwatch", "ssm"):
            client = cluster.clients.make(service)
            client.meta.events.register("provide-client-params.*.*", calls._record)
            cluster.clients.__dict__[service] = client
        cluster.clients.__dict__["sender"] = cluster.clients.ec2
        return calls

    def _record(self, params: dict[str, Any], model: Any, **_: Any) -> None:
        self.made.append((model.name, dict(params)))

    def of_kind(self, operation: str) -> list[dict[str, Any]]:
        return [params for name, params in self.made if name == operation and not params.get("DryRun")]

    @property
    def changing(self) -> list[str]:
        """The operations that change something, in order."""
        return [name for name, params in self.made if not name.startswith(READING) and not params.get("DryRun")]

    def clear(self) -> None:
        self.made.clear()


def client_error(
    code: str, operation: str = "RunInstances", message: str = "a message", status: int = 400
) -> ClientError:
    return ClientError(
        {"Error": {"Code": code, "Message": message}, "ResponseMetadata": {"HTTPStatusCode": status}},  # type: ignore[typeddict-item]
        operation,
    )


def refuse(client: Any, operation: str, errors: Iterable[Exception | None]) -> None:
    """Make the next calls of an operation fail with the given errors; None is a call without an error."""
    pending = iter(list(errors))

    def fail(**_: Any) -> None:
        error = next(pending, None)
        if error:
            raise error

    client.meta.events.register_first(f"before-call.*.{operation}", fail)
