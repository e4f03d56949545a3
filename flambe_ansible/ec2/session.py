"""Sessions and clients: the sources of credentials, region and endpoint."""

from __future__ import annotations

import getpass
import os
import sys
import threading
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from flambe_ansible.ec2 import crt
from flambe_ansible.ec2.errors import LAB, Lab, aws_call
from flambe_ansible.errors import AWSError

if TYPE_CHECKING:
    import boto3
    import botocore.session

DEFAULT_REGION = "us-east-1"
ATTEMPTS = 5
CLI_CACHE = "~/.aws/cli/cache"  # of the AWS CLI, for the credentials of assumed roles

_client_lock = threading.Lock()


@dataclass(frozen=True)
class Session:
    """A session with the interface of ``boto3.Session`` that this package uses.

    boto3 itself imports a transfer manager, which takes longer than a call to EC2. What only boto3 has is in
    :meth:`to_boto3`.
    """

    core: botocore.session.Session
    region_name: str

    @property
    def profile_name(self) -> str:
        """The name of the profile in use."""
        return self.core.profile or "default"

    @property
    def available_profiles(self) -> list[str]:
        """The names of the configured profiles."""
        return list(self.core.available_profiles)

    def get_credentials(self) -> Any:
        """Return the credentials, or None."""
        return self.core.get_credentials()

    def client(self, service_name: str, *, region_name: str | None = None, **options: Any) -> Any:
        """Make the client of a service; ``options`` are those of ``boto3.Session.client``."""
        return self.core.create_client(service_name, region_name=region_name or self.region_name, **options)

    def to_boto3(self) -> boto3.Session:
        """Return the same session as an object of boto3."""
        import boto3

        return boto3.Session(botocore_session=self.core, region_name=self.region_name)


AnySession: TypeAlias = "Session | boto3.Session"  # a custom class may return boto3's


@aws_call("read the local AWS configuration")
def make_session(region_name: str | None = None) -> Session:
    """Make a session with the user's own AWS configuration: environment, profile, instance role.

    The region is the first of ``region_name``, ``AWS_REGION`` (which boto3 ignores, unlike the AWS CLI),
    ``AWS_DEFAULT_REGION``, the profile's region, and us-east-1. The credentials of assumed roles are shared with the
    AWS CLI: a profile with MFA asks for one code an hour, not for one in every command.
    """
    with crt.skipped():
        import botocore.session
        from botocore.utils import JSONFileCache

    from flambe_ansible.ec2.models import make_loader

    core = botocore.session.Session()
    core.lazy_register_component("data_loader", lambda: make_loader(core.get_config_variable("data_path")))
    roles = core.get_component("credential_provider").get_provider("assume-role")
    roles.cache, roles._prompter = JSONFileCache(Path(CLI_CACHE).expanduser()), _ask_mfa_code
    region = region_name or os.environ.get("AWS_REGION") or core.get_config_variable("region") or DEFAULT_REGION
    return Session(core, region)


def make_isolated_session(region_name: str, *, access_key: str, secret_key: str, lab: Lab | None = None) -> Session:
    """Make a session that ignores the user's environment, AWS configuration files and proxies.

    If its calls go to a ``lab``, their errors name it when it does not answer.
    """
    core = _make_isolated_core(region_name)
    core.set_credentials(access_key, secret_key)
    core.register("after-call-error", partial(_add_lab, lab=lab))
    return Session(core, region_name)


@aws_call("create an AWS client")
def make_client(
    session: AnySession,
    service: Any,
    *,
    endpoint_url: str | None = None,
    attempts: int = ATTEMPTS,
    region_name: str | None = None,
    timeout: float | None = None,
) -> Any:
    """Make the client of a service, such as ``ec2``; threads may share it.

    Args:
        session: The session.
        service: The service's name.
        endpoint_url: The API's address; None is the endpoint in the user's configuration, or AWS's own.
        attempts: How often the client sends a request that fails for a reason that may pass.
        region_name: The region; None is the session's.
        timeout: Seconds for a connection, and for an answer; None is 10 and 60.
    """
    from botocore.config import Config

    config = Config(
        connect_timeout=timeout or 10,
        read_timeout=timeout or 60,
        retries={"mode": "standard", "total_max_attempts": attempts},
        user_agent_extra="flambe-ansible",
    )
    with _client_lock:  # making two clients of one session at the same time is not safe
        return session.client(service, region_name=region_name, endpoint_url=endpoint_url, config=config)


@aws_call("read the credentials")
def find_access_key(session: AnySession) -> str:
    """Return the id of the access key in use; "" if there are no credentials. It may ask for a new session."""
    credentials = session.get_credentials()
    return credentials.get_frozen_credentials().access_key or "" if credentials else ""


def _add_lab(*, exception: BaseException, lab: Lab | None, **_event: Any) -> None:
    """Add the lab to the details of botocore's error."""
    if isinstance(details := getattr(exception, "kwargs", None), dict):
        details[LAB] = lab


def _ask_mfa_code(prompt: str) -> str:
    """Ask for a code in the terminal."""
    if sys.stdin is None or not sys.stdin.isatty():
        raise AWSError(
            "the AWS profile needs an MFA code, and there is no terminal to ask for it",
            hint="run 'aws sts get-caller-identity' in a terminal first: its session is used for an hour",
        )
    return getpass.getpass(prompt)


def _make_isolated_core(region_name: str) -> botocore.session.Session:
    """Make a botocore session in which every setting except the region has botocore's default value."""
    with crt.skipped():
        import botocore.session
        from botocore.config import Config
        from botocore.configprovider import ConfigValueStore, ConstantProvider

    from flambe_ansible.ec2.models import make_loader

    settings = {name: default for name, (_, _, default, *_) in botocore.session.Session.SESSION_VARIABLES.items()}
    settings |= {
        "region": region_name,
        "config_file": os.devnull,
        "credentials_file": os.devnull,
        "ignore_configured_endpoint_urls": True,
        "ca_bundle": True,  # None would read REQUESTS_CA_BUNDLE
    }
    core = botocore.session.Session()
    core.register_component("data_loader", make_loader())
    store = ConfigValueStore(mapping={name: ConstantProvider(value) for name, value in settings.items()})
    core.register_component("config_store", store)
    core.set_default_client_config(Config(proxies={}))  # None would read http_proxy
    return core
