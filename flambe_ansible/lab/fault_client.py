"""Add, list and clear the faults of a running lab: signed requests to its API."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Mapping
from typing import Any

from flambe_ansible.errors import LabError, LabUsageError
from flambe_ansible.lab.client import LabInfo, words
from flambe_ansible.lab.fault_kinds import Fault
from flambe_ansible.lab.faults import SERVICE, WRONG

_TIMEOUT = 30.0


def add(lab: LabInfo, **options: Any) -> Fault:
    """Add a fault; the options are the fields of ``Fault``, and None is the default of its kind.

    Raises:
        LabUsageError: An option is wrong.
        LabError: The lab does not answer.
    """
    return _call(lab, "AddFault", options)[0]


def list_all(lab: LabInfo) -> list[Fault]:
    """Return the faults of a lab, the oldest first."""
    return _call(lab, "ListFaults", {})


def clear(lab: LabInfo, number: int = 0) -> list[Fault]:
    """Remove the fault with a number, or all; return those that were removed."""
    return _call(lab, "ClearFaults", {"id": number})


def _call(lab: LabInfo, operation: str, parameters: Mapping[str, Any]) -> list[Fault]:
    """Send a request, signed with the lab's key, to its loopback address, without a proxy."""
    from botocore.auth import SigV4Auth
    from botocore.awsrequest import AWSRequest
    from botocore.credentials import Credentials

    headers = {"Content-Type": "application/x-amz-json-1.1", "X-Amz-Target": f"FlambeLab.{operation}"}
    url, body = f"{lab.endpoint}/", json.dumps(parameters).encode()
    request = AWSRequest("POST", url, headers=headers, data=body)
    SigV4Auth(Credentials(lab.access_key, lab.secret_key), SERVICE, lab.region).add_auth(request)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    sent = urllib.request.Request(url, data=body, headers=dict(request.headers))  # noqa: S310 - the lab's endpoint
    try:
        with opener.open(sent, timeout=_TIMEOUT) as answer:
            return [Fault(**one) for one in json.load(answer)]
    except urllib.error.HTTPError as error:
        document = json.load(error)
        refused = LabUsageError if document.get("__type") == WRONG else LabError
        raise refused(document["message"], hint=document.get("hint") or None) from error
    except OSError as error:
        hint = f"sudo flambe-ans {words('up', lab.name)}"
        raise LabError(f"the lab {lab.name} does not answer: {error}", hint=hint) from error
