"""Responses in the protocols of AWS's services."""

from __future__ import annotations

import json
import secrets
from dataclasses import dataclass, field
from typing import Any
from xml.sax.saxutils import escape

_CBOR = "application/cbor"
# The HTTP statuses of errors that AWS does not report with 400.
_STATUSES = {
    "InsufficientInstanceCapacity": 500,
    "InternalError": 500,
    "NoSuchEntity": 404,
    "RequestLimitExceeded": 503,
}


@dataclass(frozen=True)
class Answer:
    """An HTTP response."""

    status: int
    content_type: str
    body: bytes
    headers: dict[str, str] = field(default_factory=dict)


class RefusedError(Exception):
    """A request is refused as AWS refuses it, with AWS's error code; ``status`` None is the usual HTTP status."""

    def __init__(self, code: str, message: str, *, status: int | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.status = status


def error(service: str, content_type: str, code: str, message: str, *, status: int | None = None) -> Answer:
    """Return an error in the protocol of a service, given by its signing name and the request's content type.

    Without ``status``, it has the HTTP status that AWS uses for the code.
    """
    status = status or _STATUSES.get(code, 400)
    if content_type.startswith(_CBOR):
        document = b"\xa2" + b"".join(map(_cbor_text, ("__type", code, "message", message)))
        return Answer(status, _CBOR, document, {"smithy-protocol": "rpc-v2-cbor"})
    if "json" in content_type:
        return Answer(status, "application/x-amz-json-1.1", json.dumps({"__type": code, "message": message}).encode())
    error = f"<Code>{escape(code)}</Code><Message>{escape(message)}</Message></Error>"
    request = secrets.token_hex(16)
    if service == "ec2":
        head = '<?xml version="1.0" encoding="UTF-8"?>\n<Response><Errors><Error>'
        body = f"{head}{error}</Errors><RequestID>{request}</RequestID></Response>"
    else:
        body = f"<ErrorResponse><Error><Type>Sender</Type>{error}<RequestId>{request}</RequestId></ErrorResponse>"
    return Answer(status, "text/xml;charset=UTF-8", body.encode())


def decoded(document: dict[str, Any]) -> Answer:
    """Return the answer of DecodeAuthorizationMessage."""
    result = f"<DecodedMessage>{escape(json.dumps(document))}</DecodedMessage>"
    body = (
        '<DecodeAuthorizationMessageResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">'
        f"<DecodeAuthorizationMessageResult>{result}</DecodeAuthorizationMessageResult>"
        f"<ResponseMetadata><RequestId>{secrets.token_hex(16)}</RequestId></ResponseMetadata>"
        "</DecodeAuthorizationMessageResponse>"
    )
    return Answer(200, "text/xml;charset=UTF-8", body.encode())


def _cbor_text(text: str) -> bytes:
    """Write one text of at most 65535 bytes in CBOR."""
    raw = text.encode()
    return b"\x79" + len(raw).to_bytes(2, "big") + raw
