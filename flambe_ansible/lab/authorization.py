"""Authorization of requests: the actions and resources that each one needs, compared with the lab's policy.

The resources and condition keys of each action:
https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazonec2.html
"""

from __future__ import annotations

import base64
import json
import re
import zlib
from collections.abc import Iterator, Mapping
from typing import Any

from flambe_ansible.lab import calls, spot
from flambe_ansible.lab.answers import RefusedError
from flambe_ansible.lab.cloud import ACCOUNT, REGION, Cloud
from flambe_ansible.lab.policies import Need, Policy

USER = f"arn:aws:iam::{ACCOUNT}:user/flambe-lab"
LINKED_ROLE = f"arn:aws:iam::{ACCOUNT}:role/aws-service-role/events.amazonaws.com/AWSServiceRoleForCloudWatchEvents"
SPOT_ROLE = f"arn:aws:iam::{ACCOUNT}:role/aws-service-role/spot.amazonaws.com/AWSServiceRoleForEC2Spot"
WITHOUT_PERMISSION = {"GetCallerIdentity"}

# The error code and HTTP status of a denial, by service; the others use the JSON protocol.
_DENIALS = {"ec2": ("UnauthorizedOperation", 403)} | dict.fromkeys(("monitoring", "sts", "iam"), ("AccessDenied", 403))
_JSON_DENIAL = ("AccessDeniedException", 400)
_EC2_ACTION = re.compile(r"arn:[\w-]+:automate:[\w-]+:ec2:\w+")  # of an alarm

# The kinds of resources by the beginning of their ids.
_KINDS = {
    "ami": "image",
    "i": "instance",
    "igw": "internet-gateway",
    "key": "key-pair",
    "sg": "security-group",
    "snap": "snapshot",
    "subnet": "subnet",
    "vol": "volume",
    "vpc": "vpc",
}
_ID = re.compile(r"(?:.*\.)?(?:Instance|Resource|Group|SecurityGroup|Subnet|Vpc|Image|Snapshot)Id(?:\.\d+)?")
# What requests create, by operation; each must be allowed, and tagging it needs ec2:CreateTags.
_CREATED = {
    "CreateImage": ("image", "snapshot"),
    "CreateKeyPair": ("key-pair",),
    "CreateSecurityGroup": ("security-group",),
    "ImportKeyPair": ("key-pair",),
    "RunInstances": ("instance", "volume", "network-interface"),
}


class Guard:
    """Refuses requests that the lab's policy does not allow; without a policy, all are allowed."""

    def __init__(self, cloud: Cloud, policy: Policy | None) -> None:
        self._cloud = cloud
        self._policy = policy

    def check(self, service: str, operation: str, parameters: Mapping[str, Any]) -> None:
        """Refuse a request that needs an action that is not allowed; dry runs are checked, too."""
        if self._policy is None or operation in WITHOUT_PERMISSION:
            return
        for need in list_needs(self._cloud, service, operation, parameters):
            reason = self._policy.explain_denial(need)
            if reason:
                raise _deny(service, need, reason)


def list_needs(cloud: Cloud, service: str, operation: str, parameters: Mapping[str, Any]) -> list[Need]:
    """List the actions that a request needs, each with its resource and the condition keys."""
    region = {"aws:requestedregion": [REGION], "ec2:region": [REGION]}
    found = {"ec2": _list_ec2, "monitoring": _list_alarms, "ssm": _list_parameters, "iam": _list_roles}.get(service)
    needs = found(cloud, operation, parameters) if found else [Need(f"{service}:{operation}")]
    return [Need(need.action, need.resource, {**region, **need.context}) for need in needs]


def acts_on_instances(alarm: Mapping[str, Any]) -> bool:
    """Return whether an alarm terminates, stops or reboots an instance."""
    return any(_EC2_ACTION.fullmatch(str(one)) for one in alarm.get("AlarmActions") or ())


def decode(message: str) -> dict[str, Any]:
    """Decode the message of a denial, for DecodeAuthorizationMessage."""
    try:
        document: dict[str, Any] = json.loads(zlib.decompress(base64.urlsafe_b64decode(message)))
    except (ValueError, zlib.error) as error:
        raise RefusedError("InvalidAuthorizationMessageException", "The message is not one of this lab") from error
    return document


def _deny(service: str, need: Need, reason: str) -> RefusedError:
    """Make the error of a denial; EC2's has an encoded message for changes."""
    if need.resource == SPOT_ROLE:
        # https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html
        reason = "The provided credentials do not have permission to create the service-linked role for EC2 Spot"
        return RefusedError("AuthFailure.ServiceLinkedRoleCreationNotPermitted", f"{reason} Instances.", status=403)
    code, status = _DENIALS.get(service, _JSON_DENIAL)
    resource = "" if need.resource == "*" else f" on resource: {need.resource}"
    text = f"User: {USER} is not authorized to perform: {need.action}{resource} {reason}"
    if service == "ec2":
        text = f"You are not authorized to perform this operation. {text}"
        if not calls.is_reading(need.action.partition(":")[2]):
            text += f". Encoded authorization failure message: {_encode(need, reason)}"
    return RefusedError(code, text, status=status)


def _encode(need: Need, reason: str) -> str:
    document = {
        "allowed": False,
        "explicitDeny": "explicit" in reason,
        "context": {
            "principal": {"arn": USER},
            "action": need.action,
            "resource": need.resource,
            "conditions": {key: list(values) for key, values in need.context.items()},
        },
    }
    return base64.urlsafe_b64encode(zlib.compress(json.dumps(document).encode())).decode()


def _list_ec2(cloud: Cloud, operation: str, parameters: Mapping[str, str]) -> Iterator[Need]:
    """List what a request to EC2 needs: what it creates and tags, and the existing resources that it names."""
    action = f"ec2:{operation}"
    if operation.startswith("Describe"):
        yield Need(action)
        return
    created, pair = _CREATED.get(operation, ()), parameters.get("KeyName", "*")
    if operation == "RunInstances" and spot.is_spot(parameters):
        created = (*created, "spot-instances-request")
        if not cloud.spot_role:
            yield Need("iam:CreateServiceLinkedRole", SPOT_ROLE, {"iam:awsservicename": ["spot.amazonaws.com"]})
    for kind in created:
        resource = _arn(kind, pair if kind == "key-pair" else "*")
        tags = _read_tags(parameters, kind)
        context = {f"aws:requesttag/{key}": value for key, value in tags.items()}
        yield Need(action, resource, context)
        if tags:
            yield Need("ec2:CreateTags", resource, {**context, "ec2:createaction": [operation]})
    asked = {f"aws:requesttag/{key}": value for key, value in _read_pairs(parameters, "Tag").items()}
    named = [one for key, value in parameters.items() if _ID.fullmatch(key) and (one := _find(cloud, value))]
    if pair in cloud.ec2.key_pairs and "key-pair" not in created:
        named.append((_arn("key-pair", pair), cloud.ec2.key_pairs[pair].id))
    if operation == "DeregisterImage" and calls.is_true(parameters, "DeleteAssociatedSnapshots"):
        yield from _list_snapshots(cloud, parameters.get("ImageId", ""))
    for resource, identifier in named:
        own = _read_own_tags(cloud, identifier)
        yield Need(action, resource, {**asked, **own})
    if not created and not named:
        yield Need(action, "*", asked)


def _list_snapshots(cloud: Cloud, image_id: str) -> Iterator[Need]:
    """List what the deletion of an image's snapshots needs.

    https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/deregister-ami.html
    """
    image = cloud.ec2.amis.get(image_id)
    if image is not None:
        snapshot = image.ebs_snapshot.id
        yield Need("ec2:DeleteSnapshot", _arn("snapshot", snapshot), _read_own_tags(cloud, snapshot))


def _read_own_tags(cloud: Cloud, identifier: str) -> dict[str, list[str]]:
    """Return the condition keys of a resource's tags."""
    tags = {key.lower(): [value] for key, value in cloud.ec2.tags.get(identifier, {}).items()}
    return {f"{prefix}:resourcetag/{key}": value for key, value in tags.items() for prefix in ("aws", "ec2")}


def _find(cloud: Cloud, identifier: str) -> tuple[str, str] | None:
    """Return the ARN and id of a resource; None for an unknown host or volume, which EC2 itself refuses."""
    kind = _KINDS.get(identifier.partition("-")[0])
    if kind is None or (kind == "volume" and identifier not in cloud.ec2.volumes):
        return None
    if kind == "instance" and all(one.id != identifier for one in cloud.instances()):
        return None
    return _arn(kind, identifier), identifier


def _list_alarms(cloud: Cloud, operation: str, parameters: Mapping[str, Any]) -> Iterator[Need]:
    """List what a request to CloudWatch needs; an account's first alarm with an action of EC2 creates a role.

    https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/using-service-linked-roles.html
    """
    action = f"cloudwatch:{operation}"
    names = parameters.get("AlarmNames") or [parameters.get("AlarmName") or "*"]
    actions = [str(one) for one in parameters.get("AlarmActions") or ()]
    for name in names:
        yield Need(action, f"arn:aws:cloudwatch:{REGION}:{ACCOUNT}:alarm:{name}", {"cloudwatch:alarmactions": actions})
    if operation == "PutMetricAlarm" and acts_on_instances(parameters) and not cloud.linked_role:
        yield Need("iam:CreateServiceLinkedRole", LINKED_ROLE, {"iam:awsservicename": ["events.amazonaws.com"]})


def _list_parameters(_cloud: Cloud, operation: str, parameters: Mapping[str, Any]) -> Iterator[Need]:
    """List what a request for a public parameter needs."""
    yield Need(f"ssm:{operation}", f"arn:aws:ssm:{REGION}::parameter/{str(parameters.get('Name', '')).lstrip('/')}")


def _list_roles(_cloud: Cloud, operation: str, parameters: Mapping[str, Any]) -> Iterator[Need]:
    """List what a request for a role needs; the ARN of the linked role has a path."""
    name = str(parameters.get("RoleName", ""))
    linked = LINKED_ROLE.endswith(f"/{name}")
    yield Need(f"iam:{operation}", LINKED_ROLE if linked else f"arn:aws:iam::{ACCOUNT}:role/{name}")


def _read_tags(parameters: Mapping[str, str], kind: str) -> dict[str, list[str]]:
    """Return the tags that a request gives to what it creates of one kind; keys are in lower case."""
    for key, value in parameters.items():
        if re.fullmatch(r"TagSpecification\.\d+\.ResourceType", key) and value == kind:
            return _read_pairs(parameters, key.removesuffix("ResourceType") + "Tag")
    return {}


def _read_pairs(parameters: Mapping[str, str], prefix: str) -> dict[str, list[str]]:
    """Return the tags in the parameters ``PREFIX.N.Key`` and ``PREFIX.N.Value``; keys are in lower case."""
    keys = [key for key in parameters if re.fullmatch(rf"{prefix}\.\d+\.Key", key)]
    return {parameters[key].lower(): [parameters.get(f"{key.removesuffix('Key')}Value", "")] for key in keys}


def _arn(kind: str, name: str) -> str:
    account = "" if kind in ("image", "snapshot") else ACCOUNT
    return f"arn:aws:ec2:{REGION}:{account}:{kind}/{name}"
