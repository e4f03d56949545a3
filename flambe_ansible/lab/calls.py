"""Reading API requests, and the log of all calls: JSON lines in the lab's folder."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

# Parameters that may hold secrets; the log has their size only.
_HIDDEN = re.compile(r"UserData|KeyMaterial|Password|Secret|Token$", re.IGNORECASE)
_READING = ("Describe", "Get", "List")


def read_operation(path: str, headers: Mapping[str, str], body: bytes) -> tuple[str, dict[str, Any]]:
    """Read the operation of a request and its parameters, in any of AWS's protocols.

    The operation is "" if the request names none. The query protocol's parameters are flat, such as
    ``TagSpecification.1.Tag.1.Key``; the others' are nested.
    """
    match = re.fullmatch(r"/service/\w+/operation/(\w+)", path)
    if match:
        return match[1], _read_cbor(body)
    target = headers.get("x-amz-target", "")
    if target:
        return target.rpartition(".")[2], _read_json(body)
    form = dict(parse_qsl(body.decode(errors="replace"), keep_blank_values=True))
    return form.get("Action", ""), {key: value for key, value in form.items() if key not in {"Action", "Version"}}


def is_reading(operation: str) -> bool:
    """Return whether an operation changes nothing."""
    return operation.startswith(_READING)


def is_true(parameters: Mapping[str, Any], name: str) -> bool:
    """Return whether a parameter of a request is true, in any of AWS's protocols."""
    return str(parameters.get(name)).lower() == "true"


class CallLog:
    """The log of all calls of one lab; only root and the lab's owner can read it."""

    def __init__(self, path: Path, owner: tuple[int, int]) -> None:
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        os.fchown(self._descriptor, *owner)

    def write(self, *, service: str, operation: str, parameters: Mapping[str, Any], status: int, error: str) -> None:
        """Write one call: values that may be secret are replaced by their size; ``error`` is AWS's code, or ""."""
        line = {
            "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "service": service,
            "operation": operation,
            "read_only": is_reading(operation),
            "dry_run": is_true(parameters, "DryRun"),
            "parameters": hide_secrets(parameters),
            "status": status,
            "error": error,
        }
        os.write(self._descriptor, (json.dumps(line, default=str) + "\n").encode())


def hide_secrets(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Replace values that may be secret by their size."""
    shown: dict[str, Any] = {}
    for key, value in parameters.items():
        if _HIDDEN.search(key) and key != "ClientToken":
            shown[key] = f"<{len(str(value))} characters>"
        else:
            shown[key] = hide_secrets(value) if isinstance(value, Mapping) else value
    return shown


def _read_json(body: bytes) -> dict[str, Any]:
    """Read a JSON object; {} for anything else."""
    try:
        document = json.loads(body or b"{}")
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}


def _read_cbor(body: bytes) -> dict[str, Any]:
    """Read a CBOR map with botocore's reader; {} for anything else."""
    import io

    from botocore.parsers import ResponseParserError, RpcV2CBORParser

    if not body:
        return {}
    try:
        document = RpcV2CBORParser().parse_data_item(io.BufferedReader(io.BytesIO(body)))
    except (ResponseParserError, ValueError, KeyError, IndexError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}
