"""Signatures of botocore, verified by the lab."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from flambe_ansible.lab.signing import Request, SignatureError, read_scope, verify

KEY, SECRET, REGION = "AKIAABCDEFGHIJKLMNOP", "a-secret", "us-east-1"
URL = "http://127.0.0.1:4000/"
COLLECTED = datetime.now(UTC)  # the requests below are signed at import, and may be verified much later
BODY = b"Action=DescribeInstances&Version=2016-11-15"


def sign(
    *, key: str = KEY, secret: str = SECRET, region: str = REGION, service: str = "ec2", body: bytes = BODY
) -> Request:
    """Sign a request as botocore does."""
    headers = {"Content-Type": "application/x-www-form-urlencoded", "User-Agent": "test"}
    request = AWSRequest(method="POST", url=URL, data=body, headers=headers)
    SigV4Auth(Credentials(key, secret), service, region).add_auth(request)
    sent = {name.lower(): value for name, value in request.headers.items()}
    return Request(method="POST", url=URL, headers={**sent, "host": "127.0.0.1:4000"}, body=body)


def check(request: Request, now: datetime | None = None) -> None:
    verify(request, access_key=KEY, secret_key=SECRET, region=REGION, now=now)


def test_a_valid_signature_is_accepted() -> None:
    scope = verify(sign(), access_key=KEY, secret_key=SECRET, region=REGION)
    assert (scope.service, scope.region, scope.access_key) == ("ec2", REGION, KEY)


def change(request: Request, name: str, value: str) -> Request:
    return replace(request, headers={**request.headers, name: value})


WRONG = {
    "another key": (sign(key="AKIAIOSFODNN7EXAMPLE"), "key"),
    "another secret": (sign(secret="b-secret"), "signature"),
    "another region": (sign(region="eu-west-1"), "region"),
    "another body": (replace(sign(), body=BODY + b"&DryRun=true"), "signature"),
    "another path": (replace(sign(), url=URL + "x"), "signature"),
    "another query": (replace(sign(), url=URL + "?Action=RunInstances"), "signature"),
    "another host": (change(sign(), "host", "127.0.0.1:4001"), "signature"),
    "another type": (change(sign(), "content-type", "application/json"), "signature"),
    "no signature": (change(sign(), "authorization", ""), "missing"),
    "basic": (change(sign(), "authorization", "Basic YTpi"), "missing"),
    "no date": (change(sign(), "x-amz-date", ""), "missing"),
    "another body, its hash claimed": (
        change(replace(sign(), body=b"x"), "x-amz-content-sha256", "0" * 64),
        "signature",
    ),
}


@pytest.mark.parametrize(("request_", "kind"), WRONG.values(), ids=WRONG)
def test_a_modified_request_is_refused(request_: Request, kind: str) -> None:
    with pytest.raises(SignatureError) as caught:
        check(request_, now=COLLECTED)
    assert caught.value.kind == kind


@pytest.mark.parametrize("minutes", [-20, 20])
def test_old_requests_are_refused(minutes: int) -> None:
    with pytest.raises(SignatureError) as caught:
        check(sign(), now=datetime.now(UTC) + timedelta(minutes=minutes))
    assert caught.value.kind == "expired"


def test_a_scope_is_read_without_verification() -> None:
    scope = read_scope(sign(service="monitoring", secret="wrong").headers)
    assert scope is not None
    assert scope.service == "monitoring"
    assert read_scope({}) is None
