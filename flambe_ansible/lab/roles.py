"""IAM in the lab: the role with which CloudWatch terminates instances."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Any

from flambe_ansible.ec2.alarms import ROLE
from flambe_ansible.lab.answers import Answer, RefusedError
from flambe_ansible.lab.cloud import ACCOUNT, Cloud

_SERVICE = "events.amazonaws.com"


def answer(cloud: Cloud, operation: str, parameters: Mapping[str, Any]) -> Answer:
    """Answer a request to IAM.

    https://docs.aws.amazon.com/IAM/latest/APIReference/API_GetRole.html
    """
    if operation != "GetRole":
        raise RefusedError("UnsupportedOperation", f"The lab does not offer {operation}")
    name = str(parameters.get("RoleName", ""))
    if name != ROLE or not cloud.linked_role:
        raise RefusedError("NoSuchEntity", f"The role with name {name} cannot be found.")
    path = f"/aws-service-role/{_SERVICE}/"
    body = (
        '<GetRoleResponse xmlns="https://iam.amazonaws.com/doc/2010-05-08/"><GetRoleResult><Role>'
        f"<Path>{path}</Path><RoleName>{name}</RoleName><RoleId>AROA{'0' * 17}</RoleId>"
        f"<Arn>arn:aws:iam::{ACCOUNT}:role{path}{name}</Arn><CreateDate>2026-01-01T00:00:00Z</CreateDate>"
        f"</Role></GetRoleResult><ResponseMetadata><RequestId>{secrets.token_hex(16)}</RequestId></ResponseMetadata>"
        "</GetRoleResponse>"
    )
    return Answer(200, "text/xml;charset=UTF-8", body.encode())
