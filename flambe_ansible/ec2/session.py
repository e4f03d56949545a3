"""Sessions and clients: where credentials, region and endpoint come from."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from flambe_ansible.ec2.errors import aws_call

if TYPE_CHECKING:
    import boto3

DEFAULT_REGION = "us-east-1"

_client_lock = threading.Lock()


@aws_call("read the local AWS configuration")
def make_session(
    region_name: str | None = None, *, access_key: str | None = None, secret_key: str | None = None
) -> boto3.Session:
    """Make a session.

    Args:
        region_name: The region; None is the locally configured one, else us-east-1.
        access_key: An access key given outright; None is what boto3 finds (environment, profile, role).
        secret_key: Its secret.

    Raises:
        AWSError: The local configuration cannot be read, or names a profile that is not there.
    """
    import boto3

    credentials: dict[str, Any] = {"aws_access_key_id": access_key, "aws_secret_access_key": secret_key}
    session = boto3.Session(region_name=region_name, **credentials)
    if session.region_name:
        return session
    return boto3.Session(region_name=DEFAULT_REGION, **credentials)


@aws_call("set up a client for AWS")
def make_client(session: boto3.Session, service: Any, *, endpoint_url: str | None = None) -> Any:
    """Make the client of one service; clients may be shared by threads.

    Args:
        session: The session.
        service: The service's name, such as ``ec2``.
        endpoint_url: Where it answers; None is AWS's own endpoint, or what the environment says.
    """
    from botocore.config import Config

    config = Config(
        connect_timeout=10,
        read_timeout=60,
        retries={"mode": "standard", "max_attempts": 5},
        user_agent_extra="flambe-ansible",
    )
    with _client_lock:  # a session must not make two clients at once
        return session.client(service, endpoint_url=endpoint_url, config=config)
