"""The API clients of one cluster."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING, Any

from flambe_ansible.ec2 import accounts, api, session
from flambe_ansible.ec2.session import ATTEMPTS, AnySession
from flambe_ansible.errors import AWSError

if TYPE_CHECKING:
    from mypy_boto3_cloudwatch.client import CloudWatchClient
    from mypy_boto3_ec2.client import EC2Client
    from mypy_boto3_ssm.client import SSMClient


PRICING_TIMEOUT = 3.0  # seconds


class Clients:
    """The API clients of one cluster, created at their first use.

    Args:
        make_session: Returns the session.
        endpoint_url: Returns the API's address; None is AWS's own, or what the environment has.
    """

    def __init__(self, make_session: Callable[[], AnySession], endpoint_url: Callable[[], str | None]) -> None:
        self._make_session = make_session
        self._endpoint_url = endpoint_url

    @property
    def endpoint_url(self) -> str | None:
        """The API's address; None is AWS's own."""
        return self._endpoint_url()

    @cached_property
    def session(self) -> AnySession:
        """The session."""
        return self._make_session()

    @cached_property
    def ec2(self) -> EC2Client:
        """The client of EC2."""
        client: EC2Client = self.make("ec2")
        return client

    @cached_property
    def sender(self) -> EC2Client:
        """The client of EC2 that sends each request once; ``launching`` repeats a creation itself."""
        client: EC2Client = self.make("ec2", attempts=1)
        return client

    @cached_property
    def cloudwatch(self) -> CloudWatchClient:
        """The client of CloudWatch."""
        client: CloudWatchClient = self.make("cloudwatch", attempts=10)  # other users of the account count too
        return client

    @cached_property
    def ssm(self) -> SSMClient:
        """The client of SSM."""
        client: SSMClient = self.make("ssm")
        return client

    @cached_property
    def service_quotas(self) -> Any:
        """The client of Service Quotas; its values are optional."""
        return self.make("service-quotas", attempts=2)

    @cached_property
    def pricing(self) -> Any:
        """The client of the Pricing API, whose prices are optional: it fails soon.

        Its endpoint in us-east-1 has the prices of all regions of the partition ``aws``:
        https://docs.aws.amazon.com/general/latest/gr/billing-pricing.html
        """
        return session.make_client(
            self.session,
            "pricing",
            endpoint_url=self.endpoint_url,
            attempts=1,
            region_name=session.DEFAULT_REGION,
            timeout=PRICING_TIMEOUT,
        )

    @cached_property
    def iam(self) -> Any:
        """The client of IAM."""
        return self.make("iam")

    @cached_property
    def account(self) -> str:
        """The account's id; "" if STS does not answer. STS is asked once for each access key: see ``accounts``."""
        try:
            key, endpoint = session.find_access_key(self.session), self.endpoint_url
            if known := accounts.find(key, endpoint):
                return known
            found = str(api.get_identity(self.make("sts"))["Account"])
        except AWSError:
            return ""
        accounts.keep(key, endpoint, found)
        return found

    @cached_property
    def identity_source(self) -> Any:
        """A client of STS in a region that every account has enabled."""
        home = session.DEFAULT_REGION if self.ec2.meta.partition == "aws" else self.region
        return session.make_client(self.session, "sts", endpoint_url=self.endpoint_url, region_name=home)

    @property
    def region(self) -> str:
        """The region."""
        return self.ec2.meta.region_name

    def make(self, service: str, *, attempts: int = ATTEMPTS) -> Any:
        """Create a client of a service, which sends a request at most so many times."""
        return session.make_client(self.session, service, endpoint_url=self.endpoint_url, attempts=attempts)
