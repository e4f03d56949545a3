"""Fixtures: a fake AWS account for each test, with a network, a key pair and an image, and clusters in it."""

from __future__ import annotations

import functools
import threading
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from botocore.client import ClientCreator
from botocore.model import ServiceModel
from moto import mock_aws
from moto.core.botocore_stubber import BotocoreStubber
from moto.ec2.models import amis
from moto.kms import models as kms
from moto.servicequotas.models import ServiceQuotasBackend

from flambe_ansible.cluster.aws import AWSCluster
from flambe_ansible.ec2 import api, checks, instances, launching, pacing
from flambe_ansible.ec2.images import CANONICAL
from flambe_ansible.errors import AWSError
from tests.unit.ec2.support import REGION, Account, Calls

UBUNTU = "ubuntu/images/hvm-ssd-gp3/ubuntu-noble-24.04-{}-server-20261101"


@pytest.fixture
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pacing.Pace, "wait", lambda _self: None)
    monkeypatch.setattr(instances, "POLL_SECONDS", 0.001)
    monkeypatch.setattr(launching, "POLL_SECONDS", 0.001)
    monkeypatch.setattr(launching, "RETRY_PAUSES", (0.0, 0.0, 0.0))


@pytest.fixture(scope="session")
def aws_session() -> Iterator[boto3.Session]:
    """Return one session for all tests: loading the API's models takes most of a second."""
    with pytest.MonkeyPatch.context() as patch:
        keep_client_classes(patch)
        # moto generates an RSA key with every key of KMS, so for each account with encrypted volumes.
        patch.setattr(kms, "generate_private_key", functools.cache(kms.generate_private_key))
        yield boto3.Session(aws_access_key_id="testing", aws_secret_access_key="testing", region_name=REGION)


def keep_client_classes(patch: pytest.MonkeyPatch) -> None:
    """Cache the class of each client; botocore otherwise creates hundreds of methods for every client."""
    create = ClientCreator._create_client_class
    classes: dict[str, type] = {}

    def create_once(self: Any, service: str, model: Any) -> type:
        if service not in classes:
            classes[service] = create(self, service, model)
        return classes[service]

    patch.setattr(ClientCreator, "_create_client_class", create_once)
    # Of the services used here, none has endpoint discovery; botocore looks for it in all operations of each client.
    patch.setattr(ServiceModel, "endpoint_discovery_operation", None)


@pytest.fixture
def account(no_pauses: None, aws_session: boto3.Session, monkeypatch: pytest.MonkeyPatch) -> Iterator[Account]:
    # Few images are enough; loading the hundreds of images in moto takes longer than a test.
    monkeypatch.setenv("MOTO_AMIS_PATH", "see below")
    some = [one for one in amis.AMIS if one["architecture"] == "x86_64"][:2]
    monkeypatch.setattr(amis, "AMIS", [*some, *_list_ubuntu_images()])
    monkeypatch.setattr(checks, "OUTSIDE", "127.0.0.1")  # this machine's own address
    monkeypatch.setattr(BotocoreStubber, "__call__", _one_at_a_time(BotocoreStubber.__call__))
    monkeypatch.setattr(api, "get_products", _refuse_prices)
    with mock_aws():
        made = Account.make(aws_session)
        monkeypatch.setattr(ServiceQuotasBackend, "get_service_quota", made.get_service_quota)
        yield made


def _refuse_prices(_pricing: Any, _filters: Any) -> list[str]:
    """Refuse prices: moto has none; the tests of prices have an API of their own."""
    raise AWSError("Failed to read prices: no permission", code="AccessDeniedException", reason="no permission")


def _list_ubuntu_images() -> list[dict[str, Any]]:
    """Return a current image of Canonical for each architecture; other facts are those of an old one in moto."""
    old = next(one for one in amis.AMIS if one["owner_id"] == CANONICAL["aws"])
    words = {"x86_64": ("amd64", "ami-00000086"), "arm64": ("arm64", "ami-00000064")}
    return [
        {**old, "ami_id": ami, "architecture": architecture, "name": UBUNTU.format(word)}
        for architecture, (word, ami) in words.items()
    ]


def _one_at_a_time(answer: Any) -> Any:
    """Serialise the calls of moto: its backends are not thread-safe."""
    lock = threading.Lock()

    def call(*args: Any, **kwargs: Any) -> Any:
        with lock:
            return answer(*args, **kwargs)

    return call


@pytest.fixture
def make_cluster(account: Account, aws_session: boto3.Session) -> Any:
    """Return a function that makes clusters in the account; ``cluster.calls`` records their API calls."""

    def make(**changes: Any) -> AWSCluster:
        cluster = AWSCluster(**{**account.arguments, **changes})
        if cluster.region_name == REGION:
            cluster.clients.__dict__["session"] = aws_session
        cluster.calls = Calls.of(cluster)  # type: ignore[attr-defined]
        return cluster

    return make
