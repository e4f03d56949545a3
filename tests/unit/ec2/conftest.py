"""A small account for each test: moto's API in this process, with a network, a key pair and images."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from moto import mock_aws

from flambe_ansible.cluster.aws import AWSCluster
from flambe_ansible.ec2 import instances, launching
from tests.unit.ec2.support import REGION, Account, Calls


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(instances, "POLL_SECONDS", 0.001)
    monkeypatch.setattr(launching, "POLL_SECONDS", 0.001)
    monkeypatch.setattr(launching, "RETRY_PAUSES", (0.0, 0.0))


@pytest.fixture
def account() -> Iterator[Account]:
    with mock_aws():
        session = boto3.Session(aws_access_key_id="testing", aws_secret_access_key="testing", region_name=REGION)
        yield Account.make(session)


@pytest.fixture
def make_cluster(account: Account) -> Any:
    """Make clusters in the account; their calls are recorded in ``cluster.calls``."""

    def make(**changes: Any) -> AWSCluster:
        cluster = AWSCluster(**{**account.arguments, **changes})
        cluster.calls = Calls.of(cluster)  # type: ignore[attr-defined]
        return cluster

    return make
