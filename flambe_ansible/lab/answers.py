"""Responses in the protocols of AWS's services."""

from __future__ import annotations

import json
import secrets
from dataclasses import dataclass, field
from xml.sax.saxutils import escape

_CBOR = "application/cbor"


@dataclass(frozen=True)
class Answer:
    """An HTTP response."""

    status: int
    content_type: str
    body: bytes
    headers: dict[str, str] = field(default_factory=dict)


class RefusedError(Exception):
    """A request is refused as EC2 refuses it, with EC2's error code."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def error(service: str, content_type: str, code: str, message: str, *, status: int = 400) -> Answer:
    """Return an error in the protocol of a service, given by its signing name and the request's content type."""
    if service == "ec2":
        body = (
            '<?xml version="1.0" encoding="UTF-8"?>\n<Response><Errors><Error>'
            f"<Code>{escape(code)}</Code><Message>{escape(message)}</Message>"
            f"</Error></Errors><RequestID>{secrets.token_hex(16)}</RequestID></Response>"
        )
        return Answer(status, "text/xml;charset=UTF-8", body.encode())
    if content_type.startswith(_CBOR):
        body_map = b"\xa2" + b"".join(map(_cbor_text, ("__type", code, "message", message)))
        return Answer(status, _CBOR, body_map, {"smithy-protocol": "rpc-v2-cbor"})
    if "json" in content_type:
        return Answer(status, "application/x-amz-json-1.1", json.dumps({"__type": code, "message": message}).encode())
    body = (
        f"<ErrorResponse><Error><Type>Sender</Type><Code>{escape(code)}</Code><Message>{escape(message)}</Message>"
        f"</Error><RequestId>{secrets.token_hex(16)}</RequestId></ErrorResponse>"
    )
    return Answer(status, "text/xml", body.encode())


def _cbor_text(text: str) -> bytes:
    """Write one text of at most 65535 bytes in CBOR."""
    raw = text.encode()
    return b"\x79" + len(raw).to_bytes(2, "big") + raw
