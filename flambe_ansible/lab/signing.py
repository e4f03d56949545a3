"""Verification of requests: they are signed with the lab's key, AWS Signature Version 4.

https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

_HEADER = re.compile(
    r"AWS4-HMAC-SHA256 Credential=([^/,\s]+)/(\d{8})/([^/]+)/([^/]+)/aws4_request,\s*"
    r"SignedHeaders=([^,\s]+),\s*Signature=([0-9a-f]{64})"
)
_TIME = "%Y%m%dT%H%M%SZ"
_SKEW = timedelta(minutes=15)


@dataclass(frozen=True, kw_only=True)
class Request:
    """An HTTP request; header names are in lower case."""

    method: str
    url: str
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True)
class Scope:
    """What a request is signed for, and its signature."""

    access_key: str
    day: str
    region: str
    service: str
    signed_headers: str
    signature: str


class SignatureError(Exception):
    """A signature is not valid; ``kind`` is ``missing``, ``key``, ``region``, ``expired`` or ``signature``."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


def read_scope(headers: Mapping[str, str]) -> Scope | None:
    """Read the service that a request is signed for, without verifying the signature."""
    match = _HEADER.fullmatch(headers.get("authorization", ""))
    return Scope(*match.groups()) if match else None


def verify(request: Request, *, access_key: str, secret_key: str, region: str, now: datetime | None = None) -> Scope:
    """Check that a request is signed with a key for a region, within 15 minutes of ``now`` (default: the present)."""
    scope = read_scope(request.headers)
    if scope is None:
        raise SignatureError("missing", "The request must carry an AWS Signature Version 4 in its Authorization header")
    if not hmac.compare_digest(scope.access_key, access_key):
        raise SignatureError("key", "AWS was not able to validate the provided access credentials")
    if scope.region != region:
        raise SignatureError("region", f"The only region of the lab is {region}, not {scope.region}")
    _check_time(request.headers.get("x-amz-date", ""), scope.day, now or datetime.now(UTC))
    claimed = request.headers.get("x-amz-content-sha256")
    body_is_signed = claimed is None or hmac.compare_digest(claimed, hashlib.sha256(request.body).hexdigest())
    if not body_is_signed or not hmac.compare_digest(scope.signature, _sign(request, scope, secret_key)):
        raise SignatureError("signature", "AWS was not able to validate the provided access credentials")
    return scope


def _check_time(stamp: str, day: str, now: datetime) -> None:
    """Refuse requests that were not signed within 15 minutes of the current time."""
    try:
        signed = datetime.strptime(stamp, _TIME).replace(tzinfo=UTC)
    except ValueError as error:
        raise SignatureError("missing", "The request must carry an X-Amz-Date header") from error
    if not stamp.startswith(day) or abs(now - signed) > _SKEW:
        raise SignatureError("expired", "Request has expired")


def _sign(request: Request, scope: Scope, secret_key: str) -> str:
    """Compute the signature that the request should carry."""
    from botocore.auth import SigV4Auth
    from botocore.awsrequest import AWSRequest
    from botocore.credentials import Credentials

    headers = {name: request.headers.get(name, "") for name in scope.signed_headers.split(";")}
    if "x-amz-content-sha256" in request.headers:
        headers["X-Amz-Content-SHA256"] = request.headers["x-amz-content-sha256"]
    copy = AWSRequest(method=request.method, url=request.url, data=request.body, headers=headers)
    copy.context["timestamp"] = request.headers["x-amz-date"]
    auth = SigV4Auth(Credentials(scope.access_key, secret_key), scope.service, scope.region)
    return str(auth.signature(auth.string_to_sign(copy, auth.canonical_request(copy)), copy))
