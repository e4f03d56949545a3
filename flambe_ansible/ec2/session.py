"""Sessions and clients: the sources of credentials, region and endpoint."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING, Any

from flambe_ansible.ec2.errors import aws_call

if TYPE_CHECKING:
    import boto3
    import botocore.session

DEFAULT_REGION = "us-east-1"

_client_lock = threading.Lock()


@aws_call("read the local AWS configuration")
def make_session(region_name: str | None = None) -> boto3.Session:
    """Make a session with the user's own AWS configuration: environment, profile, instance role.

    Args:
        region_name: The region. If None, it is the first of ``AWS_REGION``, ``AWS_DEFAULT_REGION``, the profile's
            region, and us-east-1. (boto3 itself ignores ``AWS_REGION``; the AWS CLI and the other SDKs do not.)

    Raises:
        AWSError: The local configuration cannot be read, or the profile does not exist.
    """
    import boto3

    session = boto3.Session(region_name=region_name or os.environ.get("AWS_REGION") or None)
    return session if session.region_name else boto3.Session(region_name=DEFAULT_REGION)


def make_isolated_session(region_name: str, *, access_key: str, secret_key: str) -> boto3.Session:
    """Make a session that ignores the user's environment, AWS configuration files and proxies.

    Args:
        region_name: The region.
        access_key: The access key.
        secret_key: Its secret.
    """
    import boto3

    return boto3.Session(
        botocore_session=_make_isolated_core(region_name),
        aws_access_key_id=access_key,
        aws_secret_access_key=secret_key,
    )


@aws_call("create an AWS client")
def make_client(session: boto3.Session, service: Any, *, endpoint_url: str | None = None) -> Any:
    """Make the client of one service; clients may be shared by threads.

    Args:
        session: The session.
        service: The service's name, such as ``ec2``.
        endpoint_url: The API's URL; None is AWS's own endpoint, or the one that the user's configuration sets.
    """
    from botocore.config import Config

    config = Config(
        connect_timeout=10,
        read_timeout=60,
        retries={"mode": "standard", "max_attempts": 5},
        user_agent_extra="flambe-ansible",
    )
    with _client_lock:  # making two clients of one session at the same time is not safe
        return session.client(service, endpoint_url=endpoint_url, config=config)


def _make_isolated_core(region_name: str) -> botocore.session.Session:
    """Make a botocore session in which every setting except the region has botocore's default value."""
    import botocore.session
    from botocore.config import Config
    from botocore.configprovider import ConfigValueStore, ConstantProvider

    settings = {name: default for name, (_, _, default, *_) in botocore.session.Session.SESSION_VARIABLES.items()}
    settings |= {
        "region": region_name,
        "config_file": os.devnull,
        "credentials_file": os.devnull,
        "ignore_configured_endpoint_urls": True,
        "ca_bundle": True,  # None would read REQUESTS_CA_BUNDLE
    }
    core = botocore.session.Session()
    store = ConfigValueStore(mapping={name: ConstantProvider(value) for name, value in settings.items()})
    core.register_component("config_store", store)
    core.set_default_client_config(Config(proxies={}))  # None would read http_proxy
    return core
